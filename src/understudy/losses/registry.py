"""The losses by the names that configurations use, with what each needs and how much it weighs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from understudy.losses._building import accepted_arguments, construct, unknown
from understudy.losses.attention import AttentionTransfer
from understudy.losses.contextual_similarity import ContextualSimilarity
from understudy.losses.correlation_congruence import CorrelationCongruence
from understudy.losses.darkrank_alpha import STEEPNESS
from understudy.losses.darkrank_hard import HardDarkRank
from understudy.losses.darkrank_soft import SoftDarkRank
from understudy.losses.direct_match import DirectMatch
from understudy.losses.fitnet import FitNet
from understudy.losses.hint import Hint
from understudy.losses.interpolated import Interpolated
from understudy.losses.metrics_from_teachers import AbsoluteTeacher, RelativeTeacher
from understudy.losses.pkt import PKT
from understudy.losses.pml import PREFIX, build_pml, pml_names
from understudy.losses.relaxed_contrastive import RelaxedContrastive
from understudy.losses.rkd import RKDAngle, RKDDistance
from understudy.losses.similarity_kl import SimilarityKL
from understudy.losses.similarity_preserving import SimilarityPreserving
from understudy.losses.soft_target import SoftTarget
from understudy.losses.supervised import (
    LMNN,
    BatchHardTriplet,
    Contrastive,
    CrossEntropy,
    LSoftmax,
    Margin,
    MultiSimilarity,
    ProxyAnchor,
    RMargin,
    Triplet,
    TupleContrastive,
    Verification,
)

Weight = float | Callable[[nn.Module, int], float]


@dataclass(frozen=True)
class LossEntry:
    """What the rest of the package must know of a loss.

    Attributes:
        cls: The module.
        weight: Its default weight, or a function of the module and the size of the (global) batch.
        inputs: What the student's side, and for distillation the teacher's, must supply.
        family: The paper it comes from, or "supervised".
        equal_dims: Whether student and teacher need one dimension, so that a projection may be wanted.
        supervised: Whether it learns from labels instead of a teacher.
        per_row: Whether it compares nothing within the batch: a mean over rows that processes can share.
    """

    cls: type[nn.Module]
    weight: Weight
    inputs: tuple[str, ...]
    family: str
    equal_dims: bool = False
    supervised: bool = False
    per_row: bool = False


def _entry(
    cls: type[nn.Module],
    weight: Weight,
    family: str,
    *,
    equal_dims: bool = False,
    supervised: bool = False,
    per_row: bool = False,
) -> LossEntry:
    inputs: tuple[str, ...] = getattr(cls, "inputs")  # noqa: B009 (nn.Module does not declare it)
    return LossEntry(cls, weight, inputs, family, equal_dims, supervised, per_row)


def _list_weight(loss: nn.Module, batch_size: int) -> float:
    """9/(α·β·log R) for R rankings: the value without any knowledge, log R, weighs 1 at α = β = 3.

    Of L listed candidates there are L! rankings, log L! being about L·log L; with a tail n!/(n − L)!, of the
    first L of all n. A loss whose α is read off the teacher brings itself to α·β = 9.
    """
    loss = cast("HardDarkRank", loss)
    steepness = STEEPNESS if isinstance(loss.alpha, str) else loss.alpha * loss.beta
    longest = max(2, batch_size - 1)
    length = longest if loss.list_length is None else min(loss.list_length, longest)
    if loss.tail and length < longest:
        rankings = math.lgamma(longest + 1) - math.lgamma(longest - length + 1)
    else:
        rankings = math.lgamma(max(2, length) + 1)
    return STEEPNESS / (steepness * rankings)


def _direct_match_weight(loss: nn.Module, batch_size: int) -> float:
    """2/L for the L = n − 1 candidates whose squares the loss adds up."""
    del loss
    return 2 / max(1, batch_size - 1)


def _relative_weight(loss: nn.Module, batch_size: int) -> float:
    """10 for the mean form, 10/√(n(n−1)) for the Frobenius form: 0.32 at batch 32 (the paper: 0.3)."""
    if cast("RelativeTeacher", loss).reduction == "mean":
        return 10.0
    return 10 / math.sqrt(max(2, batch_size) * (max(2, batch_size) - 1))


def _similarity_kl_weight(loss: nn.Module, batch_size: int) -> float:
    """20, times T² when the loss does not carry that factor itself."""
    del batch_size
    loss = cast("SimilarityKL", loss)
    return 20.0 if loss.scale_by_t2 else 20 * loss.temperature**2


def _soft_target_weight(loss: nn.Module, batch_size: int) -> float:
    """T², 16 at the paper's temperature."""
    del batch_size
    return cast("SoftTarget", loss).temperature ** 2


def _inner_weight(loss: nn.Module, batch_size: int) -> float:
    """The inner loss's weight, for the size of the joint set."""
    loss = cast("Interpolated", loss)
    mixed = batch_size * (batch_size - 1) // 2 if loss.pairs == "all" else round(loss.mixes * batch_size)
    entry = next((entry for entry in LOSSES.values() if entry.cls is type(loss.loss)), None)
    return 1.0 if entry is None else _weigh(entry.weight, loss.loss, batch_size + mixed)


LOSSES: dict[str, LossEntry] = {
    "hard_darkrank": _entry(HardDarkRank, _list_weight, "darkrank"),
    "soft_darkrank": _entry(SoftDarkRank, _list_weight, "darkrank"),
    "direct_match": _entry(DirectMatch, _direct_match_weight, "darkrank"),
    "soft_target": _entry(SoftTarget, _soft_target_weight, "darkrank", equal_dims=True, per_row=True),
    "fitnet": _entry(FitNet, 1.0, "darkrank", equal_dims=True, per_row=True),
    "absolute_teacher": _entry(AbsoluteTeacher, 1.0, "metrics_from_teachers", equal_dims=True, per_row=True),
    "relative_teacher": _entry(RelativeTeacher, _relative_weight, "metrics_from_teachers"),
    "hint": _entry(Hint, 1.0, "metrics_from_teachers", per_row=True),
    "attention_transfer": _entry(AttentionTransfer, 1.0, "metrics_from_teachers", per_row=True),
    "similarity_kl": _entry(SimilarityKL, _similarity_kl_weight, "s2sd"),
    "interpolated": _entry(Interpolated, _inner_weight, "data_efficient"),
    "rkd_distance": _entry(RKDDistance, 25.0, "rkd"),
    "rkd_angle": _entry(RKDAngle, 50.0, "rkd"),
    "pkt": _entry(PKT, 50.0, "pkt"),
    "similarity_preserving": _entry(SimilarityPreserving, 100.0, "similarity_preserving"),
    "correlation_congruence": _entry(CorrelationCongruence, 100.0, "correlation_congruence"),
    "relaxed_contrastive": _entry(RelaxedContrastive, 0.5, "relaxed_contrastive"),
    "contextual_similarity": _entry(ContextualSimilarity, 1.0, "contextual_similarity", equal_dims=True),
    "multi_similarity": _entry(MultiSimilarity, 1.0, "supervised", supervised=True),
    "batch_hard_triplet": _entry(BatchHardTriplet, 1.0, "supervised", supervised=True),
    "margin": _entry(Margin, 1.0, "supervised", supervised=True),
    "r_margin": _entry(RMargin, 1.0, "supervised", supervised=True),
    "contrastive": _entry(Contrastive, 1.0, "supervised", supervised=True),
    "proxy_anchor": _entry(ProxyAnchor, 1.0, "supervised", supervised=True),
    "triplet": _entry(Triplet, 1.0, "supervised", supervised=True),
    "tuple_contrastive": _entry(TupleContrastive, 1.0, "supervised", supervised=True),
    "lmnn": _entry(LMNN, 1.0, "supervised", supervised=True),
    "verification": _entry(Verification, 1.0, "supervised", supervised=True),
    "l_softmax": _entry(LSoftmax, 1.0, "supervised", supervised=True),
    "cross_entropy": _entry(CrossEntropy, 1.0, "supervised", supervised=True),
}
"""All losses of the package, by name.

A default weight makes the loss pull on a half-trained student about as hard as multi-similarity does, at
batch 32 and at 128 of normalised embeddings (within a factor of 8; a test says so). Where that agrees with a
published weight the published one stands: absolute 1, relative 10 (0.3 of the Frobenius form at batch 32),
soft targets T², RKD 25 and 50. Losses on labels weigh 1.
"""


def build_loss(name: str, args: Mapping[str, Any] | None = None, **context: Any) -> nn.Module:
    """Builds a loss from its name and settings.

    Args:
        name: A key of :data:`LOSSES`, or ``pml:`` and a class of pytorch-metric-learning.
        args: Its settings. The inner loss of ``interpolated`` is written as a name or as
            ``{name: …, args: {…}}``; relative_teacher when left out.
        **context: What the caller knows: ``num_classes``, ``dim`` (of the student's embedding),
            ``student_channels``, ``teacher_channels``. A loss that requires one of them gets it.

    Returns:
        The module.

    Raises:
        LookupError: No such loss.
        TypeError: A setting that does not exist or is missing.
        ValueError: A setting out of range.

    Example:
        >>> build_loss("similarity_kl", {"temperature": 0.2}).temperature
        0.2
        >>> build_loss("hint", student_channels=8, teacher_channels=16).regressor.out_channels
        16
        >>> build_loss("hard_darkrnk")
        Traceback (most recent call last):
        ...
        LookupError: there is no loss named 'hard_darkrnk': did you mean 'hard_darkrank'?
    """
    settings = dict(args or {})
    known = {**context, "embedding_size": context.get("dim")}
    if name.startswith(PREFIX):
        return build_pml(
            name, settings, num_classes=known.get("num_classes"), embedding_size=known["embedding_size"]
        )
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    cls = LOSSES[name].cls
    if issubclass(cls, Interpolated):
        settings["loss"] = _inner(settings.get("loss", "relative_teacher"), context)
    for key, required in accepted_arguments(cls).items():
        if required and known.get(key) is not None:
            settings.setdefault(key, known[key])
    built: nn.Module = construct(f"the loss {name!r}", cls, settings)
    return built


def _inner(written: object, context: Mapping[str, Any]) -> nn.Module:
    """The inner loss of another, from its name or {name, args}."""
    if isinstance(written, nn.Module):
        return written
    if isinstance(written, str):
        return build_loss(written, **context)
    if not isinstance(written, Mapping) or not isinstance(written.get("name"), str):
        raise TypeError(
            f"the loss 'interpolated' needs its loss as a name or {{name, args}}, got {written!r}"
        )
    surplus = sorted(set(written) - {"name", "args"})
    if surplus:
        raise TypeError(
            f"the inner loss {written['name']!r} has settings outside its args: {', '.join(surplus)}"
        )
    return build_loss(written["name"], written.get("args"), **context)


def default_weight(name: str, module: nn.Module, *, batch_size: int = 128) -> float:
    """The weight of a loss when the user gives none; see :data:`LOSSES`.

    Args:
        name: The name it was built by; 1 for a loss of pytorch-metric-learning.
        module: The loss.
        batch_size: Rows in the (global) batch, for losses whose size depends on it.

    Raises:
        LookupError: No such loss.

    Example:
        >>> default_weight("soft_target", build_loss("soft_target", {"temperature": 4.0}))
        16.0
        >>> round(default_weight("hard_darkrank", build_loss("hard_darkrank", {"list_length": 16})), 4)
        0.0326
    """
    if name.startswith(PREFIX):
        return 1.0
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return _weigh(LOSSES[name].weight, module, batch_size)


def _weigh(weight: Weight, module: nn.Module, batch_size: int) -> float:
    return weight(module, batch_size) if callable(weight) else weight


def loss_names() -> list[str]:
    """All names that :func:`build_loss` knows; imports pytorch-metric-learning for its share.

    Example:
        >>> names = loss_names()
        >>> "pkt" in names, "pml:AngularLoss" in names
        (True, True)
    """
    return [*LOSSES, *pml_names()]
