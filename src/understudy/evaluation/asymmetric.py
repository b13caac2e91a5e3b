"""Asymmetric retrieval: the student embeds the queries, the gallery stays as the teacher embedded it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from understudy.errors import UserError
from understudy.evaluation.inputs import Vectors
from understudy.evaluation.report import Report


class Embedded(NamedTuple):
    """One model's embeddings of the queries and of the gallery; None for what it has not embedded."""

    query: Vectors | None
    gallery: Vectors | None


def asymmetric(
    protocol: Callable[[Vectors, Vectors], Report],
    student: Embedded,
    teacher: Embedded,
    *,
    alone: Embedded | None = None,
) -> Report:
    """Any protocol with the student's queries in the teacher's gallery, and with each model alone beside it.

    Args:
        protocol: What measures (query embeddings, gallery embeddings): `metric_learning` with ``gallery=``,
            `query_gallery`, `reidentification`, `revisited`, … with everything else filled in.
        student: Its queries, and its gallery if it is to be measured alone too.
        alone: What it is measured alone by, if that is another space than the teacher's, which its queries
            are projected into.
        teacher: Its gallery, and its queries likewise.

    Returns:
        The report of the asymmetric search; ``beside`` holds ``student`` and ``teacher``, each in its own
        gallery, as far as they were given.

    Raises:
        UserError: The student's queries and the teacher's gallery are of different dimensions.
        ValueError: The student's queries or the teacher's gallery are missing.

    Example:
        >>> import torch
        >>> from understudy.evaluation import metric_learning
        >>> teacher = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> student = teacher.flip(1)  # ranks alike, in other coordinates
        >>> report = asymmetric(
        ...     lambda query, gallery: metric_learning(query, [0, 0, 1, 1], gallery=gallery, ks=(1,)),
        ...     Embedded(student, student),
        ...     Embedded(teacher, teacher),
        ... )
        >>> report.metrics["recall@1"], report.beside["student"].metrics["recall@1"]
        (0.0, 1.0)
    """
    if student.query is None or teacher.gallery is None:
        raise ValueError("an asymmetric search needs the student's queries and the teacher's gallery")
    check_aligned(student.query.shape[1], teacher.gallery.shape[1])
    report = protocol(student.query, teacher.gallery)
    beside = {
        name: protocol(side.query, side.gallery)
        for name, side in (("student", alone or student), ("teacher", teacher))
        if side.query is not None and side.gallery is not None
    }
    return replace(report, protocol=f"asymmetric {report.protocol}", beside=beside)


def check_aligned(ours: int, theirs: int) -> None:
    """Refuses queries of another dimension than the gallery's.

    Raises:
        UserError: With the cure.

    Example:
        >>> check_aligned(64, 128)
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: the queries have 64 dimensions and the gallery 128: train the ...
    """
    if ours != theirs:
        raise UserError(
            f"the queries have {ours} dimensions and the gallery {theirs}: train the model of the queries "
            f"with --compatible, or with student.dim {theirs} and a loss that aligns coordinates (fitnet, "
            "absolute_teacher), or embed the gallery with it too"
        )
