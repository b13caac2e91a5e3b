"""Loss terms from a configuration: what a loss needs and nobody can supply is refused here, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from understudy.config import LossConfig, RunConfig, S2SDConfig, SamplerConfig, SupervisedConfig
from understudy.errors import UserError
from understudy.losses import LOSSES, build_loss, default_weight
from understudy.models.embedder import Embedder
from understudy.models.space import Projection
from understudy.teachers import Teacher
from understudy.training.compatible import aligns, check_compatible, compatible_with, normalised
from understudy.training.objective.maps import channels, compared, request_maps
from understudy.training.objective.prefixes import Prefixes
from understudy.training.objective.s2sd import FEATURE_MAP, S2SDTerm
from understudy.training.objective.terms import DistillationTerm, MapsTerm, SupervisedTerm, Term

_TUPLES = "tuple_contrastive"


def default_supervised(config: RunConfig, *, has_labels: bool) -> tuple[SupervisedConfig, ...]:
    """The losses on labels: those configured, else what suits the batches where there are labels to use.

    Raises:
        UserError: Losses on labels are configured and no training image has a label.
    """
    if config.supervised is None:
        if config.s2sd is not None or not has_labels:
            return ()
        return (SupervisedConfig(name=_TUPLES if config.sampler.kind == "tuples" else "multi_similarity"),)
    if config.supervised and not has_labels:
        raise UserError(
            f"the loss {config.supervised[0].name!r} needs labels and no training image has one: "
            "leave `supervised` out or label some images"
        )
    return config.supervised


def build_terms(
    config: RunConfig,
    supervised: Sequence[SupervisedConfig],
    student: Embedder,
    teachers: Mapping[str, Teacher],
    classes: tuple[str, ...],
    batch_size: int | None = None,
) -> tuple[list[Term], nn.Linear | None]:
    """All loss terms of a run, and the classifier that some of them share.

    Args:
        config: The run.
        supervised: The losses on labels.
        student: The model that is trained; asked for feature maps where a loss compares them.
        teachers: The opened teachers.
        classes: Names of the training classes.
        batch_size: Images in a (global) batch, on which some default weights depend; none: the configured
            number, which a small data set does not fill.

    Returns:
        The terms and a linear map from ``raw`` to class logits, or None where no loss needs one.

    Raises:
        UserError: A loss does not exist, has a setting it does not know, or needs what a teacher or the data
            cannot supply.
    """
    batch_size = batch_size or config.sampler.batch_size
    prefixes = Prefixes.of(student)
    terms: list[Term] = [
        _supervised(item, student, len(classes), batch_size, config.sampler, prefixes) for item in supervised
    ]
    if config.s2sd is not None:
        terms.append(_s2sd(config.s2sd, student, len(classes), config.sampler, prefixes))
    guide = compatible_with(config)
    for item in config.losses:
        name = item.teacher or next(iter(teachers))
        terms.append(
            _distillation(
                item, name, student, teachers[name], classes, batch_size, prefixes, shared=name == guide
            )
        )
    if not terms:
        raise UserError(
            "there is nothing to learn from: no loss on labels and no `losses` are set; "
            "add labels, or a teacher and a distillation loss"
        )
    _distinguish(terms)
    request_maps(terms, student, teachers)
    needs_logits = any(getattr(term, "source", None) == "logits" for term in terms)
    if needs_logits and not classes:
        raise UserError("a loss on logits needs classes and no training image has a label: label some images")
    if guide is not None:
        check_compatible(terms, guide)
    prefixes.classifier = nn.Linear(student.dim, len(classes)) if needs_logits else None
    return terms, prefixes.classifier


def _build(name: str, args: Mapping[str, Any], **context: Any) -> nn.Module:
    try:
        loss: nn.Module = build_loss(name, dict(args), **context)
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(str(error.args[0] if error.args else error)) from None
    return loss


def _supervised(
    item: SupervisedConfig,
    student: Embedder,
    classes: int,
    batch_size: int,
    sampler: SamplerConfig,
    prefixes: Prefixes,
) -> Term:
    entry = LOSSES.get(item.name)
    if entry is not None and not entry.supervised:
        raise UserError(f"{item.name!r} learns from a teacher: put it under `losses`, not `supervised`")
    args = _fitting(item.name, item.args, sampler)
    loss = _build(item.name, args, num_classes=classes, dim=student.dim)
    source = entry.inputs[0] if entry is not None else "embedding"
    return SupervisedTerm(
        item.name,
        loss,
        source,
        _weight(item, loss, batch_size),
        item.warmup,
        prefixes=prefixes,
        nested=[_build(item.name, args, num_classes=classes, dim=dim) for dim in prefixes.dims],
    )


def _fitting(name: str, args: Mapping[str, Any], sampler: SamplerConfig) -> Mapping[str, Any]:
    """A loss's settings; one on tuples takes those of the sampler, which must give tuples."""
    if name != _TUPLES:
        return args
    if sampler.kind != "tuples":
        raise UserError(f"the loss {name!r} needs batches of tuples: set sampler.kind to 'tuples'")
    if args.get("negatives", sampler.negatives) != sampler.negatives:
        raise UserError(
            f"the loss {name!r} is set to {args['negatives']} negatives and the sampler to "
            f"{sampler.negatives}: set only sampler.negatives"
        )
    return {**args, "negatives": sampler.negatives}


def _s2sd(
    item: S2SDConfig, student: Embedder, classes: int, sampler: SamplerConfig, prefixes: Prefixes
) -> Term:
    if not classes:
        raise UserError("S2SD needs labels and no training image has one: label some images")
    entry = LOSSES.get(item.base)
    if entry is not None and (not entry.supervised or entry.inputs != ("embedding", "labels")):
        raise UserError(f"s2sd.base {item.base!r} is not a supervised loss on embeddings: choose another")
    args = _fitting(item.base, item.base_args, sampler)
    return S2SDTerm(
        lambda dim: _build(item.base, args, num_classes=classes, dim=dim),
        item.variant,
        item.dims,
        base_dim=student.dim,
        pooled_dim=channels(student, FEATURE_MAP) if item.variant == "msdfa" else student.pooled_dim,
        weight=item.weight,
        feature_weight=item.feature_weight,
        temperature=item.temperature,
        delay=item.delay,
        prefixes=prefixes,
    )


def _distillation(
    item: LossConfig,
    name: str,
    student: Embedder,
    teacher: Teacher,
    classes: tuple[str, ...],
    batch_size: int,
    prefixes: Prefixes,
    *,
    shared: bool,
) -> Term:
    if item.name.startswith("pml:"):
        raise UserError(f"{item.name!r} is a loss on labels: put it under `supervised`, not `losses`")
    entry = LOSSES.get(item.name)
    if entry is not None and entry.supervised:
        raise UserError(f"{item.name!r} is a loss on labels: put it under `supervised`, not `losses`")
    source = entry.inputs[0] if entry is not None else "embedding"
    if source not in teacher.supplies:
        raise UserError(
            f"the loss {item.name!r} needs the teacher's {source}, and the teacher {name!r} ({teacher.name}) "
            f"supplies only {', '.join(sorted(teacher.supplies))}: choose another loss or teacher"
        )
    if item.gallery is not None and (entry is None or "gallery" not in entry.inputs):
        raise UserError(f"the loss {item.name!r} takes no gallery: leave its `gallery` out")
    if item.maps is not None and entry is not None and source != "maps":
        raise UserError(f"the loss {item.name!r} compares no feature maps: leave its `maps` out")
    if source == "maps":
        student_channels, teacher_channels = compared(item, student, teacher)
        loss = _build(
            item.name, item.args, student_channels=student_channels, teacher_channels=teacher_channels
        )
        assert item.maps is not None, "`compared` has looked at them"
        return MapsTerm(item.name, loss, item.maps, name, _weight(item, loss, batch_size), item.warmup)
    loss = _build(item.name, item.args, dim=student.dim)
    assert entry is not None, "an unknown name does not get past _build"
    projection: Projection | None = None
    if source == "embedding" and aligns(loss, entry):
        if shared:
            projection = student.projection
        elif student.dim != teacher.dim or prefixes.dims:
            projection = Projection(student.dim, teacher.dim, normalize=normalised(teacher))
    return DistillationTerm(
        item.name,
        loss,
        source,
        name,
        _weight(item, loss, batch_size),
        item.warmup,
        relational=not entry.per_row,
        projection=projection,
        owned=not shared,
        prefixes=prefixes,
        columns=_columns(item.name, teacher, classes) if source == "logits" else None,
        gallery=item.gallery,
    )


def _columns(loss: str, teacher: Teacher, classes: tuple[str, ...]) -> Tensor:
    """Where each training class stands in the teacher's logits."""
    known = {label: place for place, label in enumerate(teacher.classes or ())}
    missing = [label for label in classes if label not in known]
    if missing:
        raise UserError(
            f"the loss {loss!r} compares class logits, and the teacher ({teacher.name}) has no class "
            f"{missing[0]!r} ({len(missing)} of {len(classes)} training classes are missing): "
            "use a teacher trained on these classes"
        )
    return torch.tensor([known[label] for label in classes])


def _weight(item: LossConfig | SupervisedConfig, loss: nn.Module, batch_size: int) -> float:
    return default_weight(item.name, loss, batch_size=batch_size) if item.weight is None else item.weight


def _distinguish(terms: Sequence[Term]) -> None:
    """Gives terms of one name different ones, so that each has a column in the log."""
    names = [term.name for term in terms]
    for place, term in enumerate(terms):
        if names.count(term.name) > 1:
            term.name = f"{term.name}.{names[:place].count(term.name)}"
