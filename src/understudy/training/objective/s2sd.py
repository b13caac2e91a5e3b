"""S2SD as a term of the task: heads that exist in training only teach the one that stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.losses import s2sd
from understudy.models.pooling import AverageMaxPooling
from understudy.training.objective.prefixes import Prefixes
from understudy.training.objective.step import Step
from understudy.training.objective.terms import Term, Wrapper, readable

Variant = Literal["dsd", "msd", "msdf", "msdfa"]

FEATURE_MAP = "features"
"""The map that MSDFA pools for itself."""


class S2SDTerm(Term):
    """The whole objective of simultaneous similarity-based self-distillation.

    ½[L(Z_f) + (1/m) Σ_k L(Z_k)] + (γ/m) Σ_k L_dist(D^f, D^k), and from features after ``delay`` steps
    + γ_F L_dist(D^f, D^φ). Source: Roth et al., "Simultaneous Similarity-based Self-Distillation for Deep
    Metric Learning", ICML 2021; exact from the authors' code.

    The heads are Linear → ReLU → Linear on the pooled features, L2-normalised; each has a criterion of its
    own. They are state of the term, never of the saved model.

    Args:
        criterion: Makes one supervised loss for a given dimension; called once for each head.
        variant: ``dsd`` one head (the last of ``dims``), ``msd`` all, ``msdf`` also features, ``msdfa``
            features and heads on average plus maximum pooling.
        dims: Dimensions of the heads.
        base_dim: Dimension of the student's embedding.
        pooled_dim: F, dimension of the pooled features (for ``msdfa``: channels of the map that is pooled).
        weight: γ.
        feature_weight: γ_F.
        temperature: T of the similarity softmax.
        delay: Steps before the features teach.
        prefixes: Lengths of the student's embedding. Each has a criterion of its own and learns from all
            heads; the objective is the mean over them. The whole alone unless given.

    Example:
        >>> from understudy.losses import MultiSimilarity
        >>> term = S2SDTerm(lambda dim: MultiSimilarity(), "msdf", (32, 64), base_dim=16, pooled_dim=8)
        >>> len(term.heads), len(term.criteria)
        (2, 3)
    """

    def __init__(
        self,
        criterion: Callable[[int], nn.Module],
        variant: Variant,
        dims: Sequence[int],
        *,
        base_dim: int,
        pooled_dim: int,
        weight: float = 50.0,
        feature_weight: float = 50.0,
        temperature: float = 1.0,
        delay: int = 1000,
        prefixes: Prefixes | None = None,
    ) -> None:
        super().__init__("s2sd", 1.0)
        dims = tuple(dims)[-1:] if variant == "dsd" else tuple(dims)
        self.variant = variant
        self.gamma = weight
        self.feature_gamma = feature_weight
        self.temperature = temperature
        self.delay = delay
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(pooled_dim, dim), nn.ReLU(), nn.Linear(dim, dim)) for dim in dims
        )
        self.criteria = nn.ModuleList(criterion(dim) for dim in (base_dim, *dims))
        self.prefixes = prefixes or Prefixes()
        self.nested = nn.ModuleList(criterion(dim) for dim in self.prefixes.dims)
        self.pool = AverageMaxPooling() if variant == "msdfa" else None
        self.wrap(None)

    def wrap(self, wrapper: Wrapper | None) -> None:
        """Lets the heads be computed in another way, and the objective where no criterion draws at random."""
        readably = all(map(readable, (*self.criteria, *self.nested)))
        self._headed = self._project if wrapper is None else wrapper(self._project)
        self._valued = self._objective if wrapper is None or not readably else wrapper(self._objective)

    def schedule(self, step: int) -> tuple[float, ...]:
        """The factor, and whether the features teach yet."""
        return (*super().schedule(step), float(step >= self.delay))

    def forward(self, step: Step) -> Tensor:
        """The objective of the whole batch."""
        features = self._features(step)
        labels = step.everywhere(step.labels)
        bases = self.prefixes.views(step.outputs, "embedding", step.everywhere)
        auxiliaries = [step.everywhere(rows) for rows in self._headed(features)]
        pooled = step.everywhere(features.detach().float()) if self.variant in ("msdf", "msdfa") else None
        criteria = (*self.criteria, *self.nested)
        draws = [self.draws(criterion, step, place) for place, criterion in enumerate(criteria)]
        return self._valued(bases, auxiliaries, pooled, labels, draws)

    def _project(self, features: Tensor) -> list[Tensor]:
        """What the heads make of the features, each row of norm 1; in bfloat16 where the student is."""
        half = features.dtype == torch.bfloat16
        with torch.autocast(features.device.type, dtype=torch.bfloat16, enabled=half):
            return [F.normalize(head(features).float(), dim=1) for head in self.heads]

    def _objective(
        self,
        bases: Sequence[Tensor],
        auxiliaries: Sequence[Tensor],
        pooled: Tensor | None,
        labels: Tensor,
        draws: Sequence[Mapping[str, torch.Generator]],
    ) -> Tensor:
        """The value, of gathered rows."""
        rows = (bases[0], *auxiliaries, *bases[1:])
        criteria = (*self.criteria, *self.nested)
        supervised = [
            criterion(vectors, labels, **extra)
            for criterion, vectors, extra in zip(criteria, rows, draws, strict=True)
        ]
        heads = supervised[1 : 1 + len(auxiliaries)]
        firsts = (supervised[0], *supervised[1 + len(auxiliaries) :])
        value: Tensor = 0.5 * sum(heads) / len(heads) + self.prefixes.mean(
            0.5 * first + self._taught(base, auxiliaries, pooled)
            for first, base in zip(firsts, bases, strict=True)
        )
        return value

    def _taught(self, base: Tensor, auxiliaries: Sequence[Tensor], pooled: Tensor | None) -> Tensor:
        """What the heads and the features teach one length of the embedding."""
        return s2sd(
            base,
            auxiliaries,
            pooled=pooled,
            pooled_active=self.clock[1].to(base.dtype),
            temperature=self.temperature,
            gamma=self.gamma,
            gamma_pooled=self.feature_gamma,
        )

    def _features(self, step: Step) -> Tensor:
        if self.pool is None:
            return step.outputs["pooled"]
        pooled: Tensor = self.pool(step.outputs["maps"][FEATURE_MAP])
        return pooled
