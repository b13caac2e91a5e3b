"""The lengths at which a loss looks at the student's embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.models.embedder import Embedder
from understudy.models.outputs import Outputs
from understudy.models.space import prefix


class Prefixes:
    """The whole embedding and its beginnings, each with the weight that its loss has in the mean.

    L = Σ_m c_m · L(z_1..m) / Σ_m c_m over the lengths m, each prefix of norm 1 where the embedding is.

    Source: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, equation 1, divided by the
    sum of the weights, so that a loss weighs the same with prefixes and without. Losses on logits take the
    first columns of the classifier the task has anyway (the paper's efficient form, MRL-E).

    Args:
        dims: The shorter lengths.
        weights: One for the whole and one for each of the shorter lengths; equal ones unless given.
        normalize: Whether embeddings, and so their prefixes, have length 1.

    Attributes:
        classifier: The map from ``raw`` to logits that losses on logits share; set once it is built.

    Raises:
        ValueError: Not one weight for each length.

    Example:
        >>> import torch
        >>> lengths = Prefixes((2,), normalize=True)
        >>> [tuple(rows.shape) for rows in lengths.views({"embedding": torch.eye(3)}, "embedding")]
        [(3, 3), (3, 2)]
        >>> lengths.mean([torch.tensor(1.0), torch.tensor(3.0)])
        tensor(2.)
    """

    def __init__(
        self, dims: tuple[int, ...] = (), weights: tuple[float, ...] | None = None, *, normalize: bool = True
    ) -> None:
        self.dims = dims
        weights = weights or (1.0,) * (1 + len(dims))
        if len(weights) != 1 + len(dims):
            raise ValueError(f"{1 + len(dims)} lengths need a weight each, got {len(weights)}")
        self.shares = tuple(weight / sum(weights) for weight in weights)
        self.normalize = normalize
        self.classifier: nn.Linear | None = None

    @classmethod
    def of(cls, student: Embedder) -> Self:
        """The lengths that a model's configuration asks for."""
        config = student.config
        given = config.prefix_weights or (1.0,) * len(config.prefixes)
        weights = dict(zip(config.prefixes, given, strict=True))
        whole = weights.get(student.dim, 1.0)
        shorter = student.prefixes
        return cls(shorter, (whole, *(weights[dim] for dim in shorter)), normalize=config.normalize)

    def views(
        self, outputs: Outputs, source: str, bring: Callable[[Tensor], Tensor] = lambda rows: rows
    ) -> list[Tensor]:
        """What a loss compares, at every length, the whole first.

        Args:
            outputs: What the student gave.
            source: ``embedding``, ``raw`` or ``logits``.
            bring: Applied to whole outputs before they are cut: gathers the rows of all processes.
        """
        whole = bring(outputs[source])  # type: ignore[literal-required]
        if source != "logits":
            normalize = self.normalize and source == "embedding"
            return [whole, *(prefix(whole, dim, normalize=normalize) for dim in self.dims)]
        return [whole, *(self._logits(bring(outputs["raw"]), dim) for dim in self.dims)]

    def mean(self, values: Iterable[Tensor]) -> Tensor:
        """The weighted mean of one value for each length."""
        first, *others = values
        if not others:
            return first
        return sum(
            (share * value for share, value in zip(self.shares[1:], others, strict=True)),
            self.shares[0] * first,
        )

    def _logits(self, raw: Tensor, dim: int) -> Tensor:
        assert self.classifier is not None, "a task with a loss on logits has a classifier"
        weight, bias = self.classifier.weight, self.classifier.bias
        return F.linear(raw[:, :dim].to(weight.dtype), weight[:, :dim], bias)
