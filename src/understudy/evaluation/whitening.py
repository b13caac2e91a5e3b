"""Whitening: a linear map, fitted on training data, after which distances count what matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.files import atomic_file

_SMALLEST = 1e-10
"""Directions that vary less than this share of the largest one are rounding and are left out."""


@dataclass(frozen=True)
class Whitening:
    """x ↦ P (x − m), then L2-normalised.

    Attributes:
        kind: ``pca`` or ``learned``.
        mean: (d,) float64, m.
        projection: (k, d) float64, P; its rows in falling order of importance.

    Example:
        >>> whitening = fit_pca(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        >>> whitening.apply(torch.tensor([[3.0, 2.0]]), dim=2).abs()
        tensor([[0.6000, 0.8000]])
    """

    kind: str
    mean: Tensor
    projection: Tensor

    @property
    def dim(self) -> int:
        """How many numbers a whitened vector has at most."""
        return len(self.projection)

    def apply(self, vectors: Tensor, dim: int | None = None) -> Tensor:
        """Whitens vectors.

        Args:
            vectors: (n, d) floating point on any device.
            dim: Keep so many of the most important directions; none: all.

        Returns:
            (n, dim) unit vectors of the type and on the device of ``vectors``; computed in float64.

        Raises:
            UserError: The vectors or ``dim`` are of a size that the whitening was not fitted for.
        """
        if vectors.shape[1] != len(self.mean):
            raise UserError(
                f"the whitening was fitted on vectors of {len(self.mean)} numbers and these have "
                f"{vectors.shape[1]}: fit it on vectors of the same model"
            )
        if dim is not None and not 1 <= dim <= self.dim:
            raise UserError(f"a whitening to {dim} numbers was asked for: give 1 to {self.dim}")
        mean, projection = self.mean.to(vectors.device), self.projection[:dim].to(vectors.device)
        whitened = torch.empty(len(vectors), len(projection), dtype=vectors.dtype, device=vectors.device)
        for start in range(0, len(vectors), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            whitened[some] = F.normalize((vectors[some].double() - mean) @ projection.T, dim=1)
        return whitened

    def save(self, path: str | Path) -> None:
        """Writes it as a ``.safetensors`` file, whole or not at all."""
        from safetensors.torch import save

        tensors = {"mean": self.mean.contiguous(), "projection": self.projection.contiguous()}
        with atomic_file(path) as draft:
            draft.write_bytes(save(tensors, metadata={"whitening": self.kind}))

    @classmethod
    def load(cls, path: str | Path) -> Whitening:
        """Reads what `save` wrote.

        Raises:
            UserError: There is no such file, or it holds something else.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise UserError(f"there is no whitening {str(path)!r}: check the path, or fit one")
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, Any] = file.metadata() or {}
                mean, projection = file.get_tensor("mean"), file.get_tensor("projection")
        except (SafetensorError, OSError) as error:
            raise UserError(f"{str(path)!r} holds no whitening: fit it again") from error
        if projection.dim() != 2 or mean.shape != projection.shape[1:] or "whitening" not in facts:
            raise UserError(f"{str(path)!r} holds no whitening: fit it again")
        return cls(facts["whitening"], mean, projection)


_AT_ONCE = 65_536


def fit_pca(vectors: Tensor) -> Whitening:
    """PCA whitening: afterwards the directions are uncorrelated and of variance 1.

    P = Λ^(−1/2) Vᵀ of the covariance's eigenvalues Λ, the largest first, and eigenvectors V (Jégou and Chum,
    "Negative evidences and co-occurences in image retrieval", ECCV 2012).

    Args:
        vectors: (n, d) of training images, n ≥ 2.

    Returns:
        The whitening; of fewer than d rows where the vectors vary in fewer directions.

    Raises:
        UserError: Fewer than two vectors, or all are alike.

    Example:
        >>> fit_pca(torch.tensor([[1.0, 5.0], [3.0, 5.0]])).dim
        1
    """
    if len(vectors) < 2:
        raise UserError(f"{len(vectors)} vectors are too few to fit a whitening on: pass at least two")
    x = vectors.double()
    mean = x.mean(0)
    centred = x - mean
    values, directions = torch.linalg.eigh(centred.T @ centred / len(x))
    values, directions = values.flip(0), directions.flip(1)
    kept = values > _SMALLEST * values[0].clamp(min=0)
    if not bool(kept.any()):
        raise UserError("all training vectors are alike: no whitening can be fitted on them")
    projection = (directions[:, kept] / values[kept].sqrt()).T
    return Whitening("pca", mean.cpu(), projection.contiguous().cpu())


def fit_learned(vectors: Tensor, first: Tensor, second: Tensor) -> Whitening:
    """Learned whitening: what differs within matching pairs is made small, PCA then orders what is left.

    With C_S the mean of (x_i − x_j)(x_i − x_j)ᵀ over matching pairs, L Lᵀ = C_S and V the eigenvectors of
    L⁻¹ Σ (x_i − m)(x_i − m)ᵀ L⁻ᵀ, the largest first, P = Vᵀ L⁻¹; m is the mean of the pairs' first members,
    the sum runs over all vectors. That is Lw as its authors' code (cnnimageretrieval, ``whitenlearn``) has
    it. (The paper takes the pairs that do not match for the second step; the scatter of all vectors stands
    for them. Its C_S^(−1/2) differs from L⁻¹ by a rotation, which V undoes.) As there, a C_S that is not
    positive definite gets the smallest of 1e-10, 1e-9, … on its diagonal that makes it so.

    Source: Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI
    2018, section 3.4 (after Mikolajczyk and Matas, ICCV 2007).

    Args:
        vectors: (n, d) of training images, those without a pair among them.
        first: (p,) int64 rows, one member of each matching pair.
        second: (p,) int64 rows, the other.

    Returns:
        The whitening, with d rows.

    Raises:
        UserError: There are no pairs, or in all of them the vectors are equal.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [2.0, 0.1], [0.0, 1.0], [2.0, 1.1]])
        >>> learned = fit_learned(x, torch.tensor([0, 2]), torch.tensor([1, 3]))
        >>> learned.apply(x).argmax(1).tolist() != [0, 0, 0, 0]
        True
    """
    if not len(first):
        raise UserError("there are no matching pairs to fit a learned whitening on: pass labelled images")
    x, y = vectors[first].double(), vectors[second].double()
    mean = x.mean(0)
    differences = x - y
    lower = _cholesky(differences.T @ differences / len(x))
    scatter = torch.zeros_like(lower)
    for some in torch.split(vectors, _AT_ONCE):
        projected = torch.linalg.solve_triangular(lower, (some.double() - mean).T, upper=False)
        scatter += projected @ projected.T
    _, directions = torch.linalg.eigh(scatter)
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(lower)).to(lower), upper=False)
    projection = directions.flip(1).T @ inverse
    return Whitening("learned", mean.cpu(), projection.contiguous().cpu())


def matching_pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each labelled row with the next one of its class, the last with the first: as many pairs as such rows.

    Args:
        labels: (n,) int64, negative where unlabelled.

    Returns:
        Two (p,) int64 tensors of rows; a class of one row has no pair, one of two has its pair twice.

    Example:
        >>> matching_pairs(torch.tensor([4, 7, 4, -1, 4, 8]))
        (tensor([0, 2, 4]), tensor([2, 4, 0]))
    """
    order = labels.argsort(stable=True)
    order = order[labels[order] >= 0]
    _, sizes = torch.unique_consecutive(labels[order], return_counts=True)
    size = sizes.repeat_interleave(sizes)
    start = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    place = torch.arange(len(order), device=labels.device) - start
    following = order[start + (place + 1) % size]
    return order[size > 1], following[size > 1]


def _cholesky(matrix: Tensor) -> Tensor:
    """The lower triangle L with L Lᵀ = matrix, some power of ten on its diagonal where it needs it."""
    if not bool(matrix.diagonal().any()):
        raise UserError("the vectors of all matching pairs are equal: no learned whitening can be fitted")
    if not bool(torch.isfinite(matrix).all()):
        raise UserError("the training vectors are not finite: the model that made them has diverged")
    ridge = 0.0
    while True:
        lower: Tensor
        lower, failed = torch.linalg.cholesky_ex(matrix + ridge * torch.eye(len(matrix)).to(matrix))
        if not int(failed):
            return lower
        ridge = 10 * ridge or 1e-10
