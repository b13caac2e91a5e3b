"""A student that is to ask its teacher's gallery: which teacher's, and by which losses it gets there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from understudy.config import RunConfig
from understudy.errors import UserError
from understudy.losses import LOSSES, Interpolated
from understudy.losses.registry import LossEntry
from understudy.models.space import TeacherSpace
from understudy.teachers import Teacher
from understudy.training.objective.terms import DistillationTerm, Term


def compatible_with(config: RunConfig) -> str | None:
    """The name of the teacher whose space the student keeps a projection into, or None.

    Example:
        >>> compatible_with(RunConfig(teachers={"main": "packaged:typefaces"}, compatible=True))
        'main'
    """
    if isinstance(config.compatible, str):
        return config.compatible
    return next(iter(config.teachers)) if config.compatible else None


def teacher_space(config: RunConfig, teachers: Mapping[str, Teacher]) -> TeacherSpace | None:
    """The space that the student keeps a projection into, or None.

    Args:
        config: The run.
        teachers: The opened teachers.
    """
    name = compatible_with(config)
    if name is None:
        return None
    teacher = teachers[name]
    return TeacherSpace(dim=teacher.dim, teacher=teacher.name, normalize=normalised(teacher))


def normalised(teacher: Teacher) -> bool:
    """Whether a teacher's embeddings have length 1; assumed of one that does not say so."""
    said = getattr(teacher, "normalised", None)
    return True if said is None else bool(said)


def aligns(loss: nn.Module, entry: LossEntry) -> bool:
    """Whether a loss compares the student's coordinates with the teacher's, and so needs one space."""
    if isinstance(loss, Interpolated):
        return any(inner.equal_dims for inner in LOSSES.values() if inner.cls is type(loss.loss))
    return entry.equal_dims


def check_compatible(terms: Sequence[Term], teacher: str) -> None:
    """Refuses a projection that no loss would train.

    Raises:
        UserError: All losses on this teacher compare relations, which say nothing about coordinates.
    """
    for term in terms:
        if isinstance(term, DistillationTerm) and term.teacher == teacher and term.projects:
            return
    raise UserError(
        f"none of the losses brings the student into the space of the teacher {teacher!r}, for they compare "
        "relations only: add absolute_teacher, fitnet or contextual_similarity, or leave `compatible` out"
    )


def hang_galleries(
    terms: Sequence[Term], rows: Tensor, seed: int, embed: Callable[[str, Tensor], Tensor]
) -> None:
    """Gives every loss that asks for a gallery the teacher's vectors of training images, chosen at random.

    Args:
        terms: The parts of the loss.
        rows: (n,) int64 manifest rows of the training images.
        seed: Of the choice.
        embed: Gives a teacher's embeddings, by its name, of the clean images of some rows.
    """
    for term in terms:
        if isinstance(term, DistillationTerm) and term.gallery is not None:
            drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[: term.gallery]
            term.hang(embed(term.teacher, rows[drawn.sort().values.to(rows.device)]))
