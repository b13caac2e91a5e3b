"""What relational losses share: whose rows ask, who may answer, and the tables of cosines between them."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from understudy.losses._distances import pairwise_distances


class RelationalLoss(nn.Module):
    """A loss on the relations within a batch: two embeddings in, one number out.

    Subclasses are thin: they keep a loss's settings and give :meth:`relate`.

    Attributes:
        inputs: What the task must supply for both sides.
        capturable: Whether a CUDA graph can record it: no synchronisation, no shape that depends on values.
        random: Whether it draws from its generator.
        splits_by_query: Whether the loss of a batch is the mean of the losses of its parts, weighted by their
            numbers of queries, when the parts partition the rows: then processes may share the queries.
    """

    inputs: ClassVar[tuple[str, ...]] = ("embedding",)
    capturable: ClassVar[bool] = True
    random: ClassVar[bool] = False
    splits_by_query: bool = True

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            student: (n, dS) embeddings of the student.
            teacher: (n, dT) embeddings of the same images; no gradient flows into them.
            queries: Row numbers that ask, or None for all rows. Every row still answers.
            generator: The source of randomness, for those losses that have any.
            exclude: (n, n) bool, True where the column may not answer the row; None excludes nothing. A row
                never answers itself.

        Returns:
            A scalar, float32 or float64.
        """
        del generator
        return self.relate(student, teacher, queries, exclude)

    def relate(
        self, student: Tensor, teacher: Tensor, queries: Tensor | None, exclude: Tensor | None
    ) -> Tensor:
        """The loss itself; see :meth:`forward`."""
        raise NotImplementedError


def select(x: Tensor, queries: Tensor | None) -> Tensor:
    """The rows that ask."""
    return x if queries is None else x.index_select(0, queries)


def candidates(name: str, x: Tensor, queries: Tensor | None, exclude: Tensor | None) -> Tensor:
    """Says who may answer whom: everyone but the query itself, by index, and those excluded.

    Args:
        name: The loss's name, for the message.
        x: (n, d) embeddings, for their number and device.
        queries: Row numbers that ask, or None for all.
        exclude: (n, n) bool, True where the column may not answer the row.

    Returns:
        (queries, n) bool.

    Raises:
        ValueError: When ``exclude`` is not such a matrix.

    Example:
        >>> candidates("pkt", torch.zeros(3, 2), torch.tensor([1]), None)
        tensor([[ True, False,  True]])
    """
    n = x.shape[0]
    if exclude is not None and (exclude.dtype != torch.bool or exclude.shape != (n, n)):
        raise ValueError(
            f"{name} needs exclude as a ({n}, {n}) bool matrix, got {exclude.dtype} of shape "
            f"{tuple(exclude.shape)}"
        )
    everyone = torch.arange(n, device=x.device)
    asking = everyone if queries is None else queries
    mask = asking.unsqueeze(1) != everyone
    return mask if exclude is None else mask & ~select(exclude, queries)


def mean_over_candidates(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over queries of each query's mean over its candidates; a query without any counts as 0.

    Args:
        values: (queries, n), finite also where ``mask`` is False.
        mask: (queries, n) bool.
    """
    counts = mask.sum(1).clamp_min(1)
    return ((values * mask).sum(1) / counts).mean()


def distance_rows(x: Tensor, queries: Tensor | None, *, squared: bool = False) -> Tensor:
    """(queries, n) Euclidean distances from the asking rows to all rows."""
    if queries is None:
        return pairwise_distances(x, squared=squared)
    return pairwise_distances(select(x, queries), x, squared=squared)


def product(x: Tensor, y: Tensor) -> Tensor:
    """The products x_i·y_j, formed in float64 (where the device has it), in the type of ``x``.

    Autocast and TF32 leave float64 alone; relations divided by a small temperature need the digits.
    """
    if x.device.type == "mps":
        return x @ y.T
    return (x.double() @ y.double().T).to(x.dtype)


def unit(x: Tensor) -> Tensor:
    """Rows of length 1; a zero row stays zero and keeps a finite gradient.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(norms > 0, norms, torch.ones_like(norms))


def cosine_rows(x: Tensor, queries: Tensor | None) -> Tensor:
    """(queries, n) cosines between the asking rows and all rows; 0 with a zero vector."""
    units = unit(x)
    return product(select(units, queries), units)


def require_number(name: str, minimum: float = -math.inf, **values: float) -> None:
    """Checks settings that are finite numbers.

    Raises:
        ValueError: In one sentence, naming the loss and the setting.

    Example:
        >>> require_number("lmnn", margin="0.9")
        Traceback (most recent call last):
        ...
        ValueError: lmnn needs a margin that is a finite number, got '0.9'
    """
    for key, value in values.items():
        # Compared, for the compiler knows no `isfinite` of a setting that it has made a symbol.
        if not _is_number(value) or not -math.inf < value < math.inf:
            raise ValueError(f"{name} needs a {key} that is a finite number, got {value!r}")
        if value < minimum:
            raise ValueError(f"{name} needs a {key} of at least {minimum}, got {value}")


def require_positive(name: str, *, finite: bool = True, **values: float) -> None:
    """Checks settings that only make sense above zero.

    Args:
        name: The loss's name, for the message.
        finite: Whether infinity is refused.
        **values: The settings.

    Raises:
        ValueError: In one sentence, naming the loss and the setting.

    Example:
        >>> require_positive("similarity_kl", temperature=0.0)
        Traceback (most recent call last):
        ...
        ValueError: similarity_kl needs a temperature above 0, got 0.0
    """
    for key, value in values.items():
        if not _is_number(value) or not value > 0:
            raise ValueError(f"{name} needs a {key} above 0, got {value!r}")
        if finite and value == math.inf:
            raise ValueError(f"{name} needs a finite {key}, got {value}")


def require_whole(name: str, minimum: int = 1, **values: object) -> None:
    """Checks settings that count something.

    Raises:
        ValueError: In one sentence, naming the loss and the setting.

    Example:
        >>> require_whole("contextual_similarity", minimum=2, neighbours=2.5)
        Traceback (most recent call last):
        ...
        ValueError: contextual_similarity needs neighbours as a whole number of at least 2, got 2.5
    """
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
            raise ValueError(f"{name} needs {key} as a whole number of at least {minimum}, got {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
