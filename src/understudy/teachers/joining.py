"""Brings teacher and manifest together: which stored vector is which image's, and which views they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

import numpy as np

from understudy.config.trees import first_difference
from understudy.data import Dataset, Manifest
from understudy.data.augmentation import Augmentation
from understudy.data.table.content import refuse_changed
from understudy.errors import UserError
from understudy.teachers.protocol import Teacher, View
from understudy.teachers.stored import TableTeacher

T = TypeVar("T", bound=Teacher)


def joined(teacher: T, dataset: Dataset, rows: np.ndarray) -> T:
    """A teacher that knows which images a run is about.

    Args:
        teacher: Any teacher; only a table is another one afterwards. Others are told what images are called.
        dataset: The images.
        rows: (n,) the manifest rows that are learnt from; a table must have all of them.

    Returns:
        The teacher to ask.

    Raises:
        UserError: The table lacks some of the rows, or some images have changed since it was written; the
            first few are named.
    """
    manifest = dataset.manifest
    if isinstance(teacher, TableTeacher):
        table = teacher.join(manifest)
        if not table.knows(rows):
            table.table.rows([manifest.ids[row] for row in rows.tolist()])  # names those that are missing
        refuse_changed(table.table, dataset, rows, table.numbers(rows))
        return cast("T", table)
    tell = getattr(teacher, "call_images", None)
    if tell is not None:
        tell(manifest.ids)
    return teacher


def judges(teacher: Teacher, rows: np.ndarray) -> bool:
    """Whether a teacher that is joined can say something about clean images of all these manifest rows."""
    if isinstance(teacher, TableTeacher):
        return teacher.table.recipe is None and teacher.knows(rows)
    return True


def refuse_another(teacher: Teacher, judge: Teacher, clean: str) -> None:
    """Refuses vectors of clean images that are not those of the teacher that is learnt from.

    Two tables are known by the weights of the models that wrote them, where both wrote them down.

    Raises:
        UserError: Their dimensions, or the models behind the tables, differ.
    """
    if judge.dim != teacher.dim:
        raise UserError(
            f"{clean!r} has vectors of {judge.dim} dimensions and the teacher {teacher.name!r} of "
            f"{teacher.dim}: set the teacher's `clean` to its own vectors"
        )
    if isinstance(teacher, TableTeacher) and isinstance(judge, TableTeacher):
        ours, theirs = (one.table.metadata.get("sha256") for one in (teacher, judge))
        known = [one.table.metadata.keys() - {"precision", "flip"} for one in (teacher, judge)]
        if ours and theirs and known[0] == known[1] and ours != theirs:
            raise UserError(
                f"{clean!r} was written by another model than the table of the teacher {teacher.name!r}: set "
                "the teacher's `clean` to its own vectors"
            )


def check_view(teacher: TableTeacher, view: View, augmentation: Augmentation) -> None:
    """Refuses views that a table says nothing about.

    Raises:
        UserError: It holds clean images and views are wanted, or the other way round.
    """
    clean = view == "clean" or augmentation.off
    if clean != (teacher.table.recipe is None):
        holds, view = ("clean images", "clean") if teacher.table.recipe is None else ("views", "same")
        raise UserError(
            f"the table {str(teacher.table.directory)!r} holds {holds} only: set the teacher's `view` to "
            f"{view}, or leave it out"
        )


def shared_views(
    teachers: Mapping[str, Teacher],
    augmentation: Augmentation | None,
    seed: int | None,
    manifest: Manifest,
    rows: np.ndarray,
) -> tuple[Augmentation | None, int | None]:
    """The views that a run must show so that stored answers are about what the student sees.

    Args:
        teachers: Joined teachers by name that are to see the student's views.
        augmentation: The run's recipe; None where it says nothing.
        seed: The run's ``view_seed``; None where it says nothing.
        manifest: The images.
        rows: (n,) the manifest rows that are learnt from.

    Returns:
        The recipe and the seed, those of the tables where the run says nothing.

    Raises:
        UserError: The run, or another table, has another recipe or seed; or the table's views were drawn for
            other rows.
    """
    for name, teacher in teachers.items():
        if not isinstance(teacher, TableTeacher) or teacher.table.recipe is None:
            continue
        table = teacher.table
        stored = Augmentation.model_validate({**(table.recipe or {}), "num_views": table.num_views})
        wanted = augmentation or stored
        views = wanted.num_views or table.num_views
        if views <= table.num_views:
            stored = stored.model_copy(update={"num_views": views})
            wanted = wanted.model_copy(update={"num_views": views})
        differs = first_difference(stored.model_dump(mode="json"), wanted.model_dump(mode="json"))
        if differs is not None:
            raise UserError(
                f"the table of the teacher {name!r} holds {table.num_views} views drawn with another "
                f"augment.{differs}: leave `augment` out to take the table's over"
            )
        if seed is not None and seed != table.view_seed:
            raise UserError(
                f"the table of the teacher {name!r} holds views of the seed {table.view_seed} and view_seed "
                f"is {seed}: leave it out to take the table's over"
            )
        _refuse_other_rows(name, teacher, manifest, rows)
        augmentation, seed = stored, table.view_seed
    return augmentation, seed


def _refuse_other_rows(name: str, teacher: TableTeacher, manifest: Manifest, rows: np.ndarray) -> None:
    """View k of an image follows from its manifest row: in another manifest it would be another view."""
    drawn = teacher.table.view_rows
    if drawn is None:
        drawn = np.arange(len(teacher.table))
    numbers = teacher.numbers(rows)
    rows, numbers = rows[numbers >= 0], numbers[numbers >= 0]  # `joined` sees to those that must be there
    then = drawn[numbers]
    other = np.flatnonzero(then != rows)
    if len(other):
        row = int(rows[other[0]])
        raise UserError(
            f"the table of the teacher {name!r} was written for another manifest (its views of "
            f"{manifest.ids[row]!r} are those of row {then[other[0]]}, here it is row {row}): embed this "
            "manifest again, or use a table of clean images"
        )
