"""Which teachers' answers are read ahead of the batches: those in tables that found no room in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from understudy.data.answers import Answers
from understudy.data.items import Items
from understudy.teachers import TableTeacher, Teacher
from understudy.teachers.protocol import View


def looked_up(
    teachers: Mapping[str, Teacher], views: Mapping[str, View]
) -> dict[str, Callable[[Items], Answers]]:
    """What looks up the answers of the teachers that are tables, for `understudy.data.batches.Batches`.

    Args:
        teachers: The teachers that are asked about batches, by name.
        views: What each of them sees of an image.
    """
    return {
        name: _looking(teacher, views[name])
        for name, teacher in teachers.items()
        if isinstance(teacher, TableTeacher)
    }


def _looking(table: TableTeacher, view: View) -> Callable[[Items], Answers]:
    return lambda items: cast("Answers", table.outputs(items.seen(view)))
