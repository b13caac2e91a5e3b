"""Rows (a) to (d): for every student, batch and size the ceiling, and the package's loop beside it."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from _losses_gpu import Call
from _losses_table import Line
from _throughput_bare import KEPT, Bare, rates
from _throughput_loop import (
    Stored,
    build,
    from_teacher,
    live,
    on_labels,
    table,
    table_on_disk,
    train,
)
from _throughput_page import SHARE
from _throughput_setting import Setting, noise
from _throughput_sheet import Group, Work

from understudy.training.task import Task
from understudy.training.teaching.looking_up import looked_up


class Grid:
    """The groups of the rows (a) to (d)."""

    def __init__(self) -> None:
        self._bare: tuple[Setting, Bare] | None = None

    def groups(self, settings: Sequence[Setting], teachers: Sequence[str]) -> Iterator[Group]:
        """A group for each student, batch and size, and one for each of them with each teacher."""
        for setting in settings:
            yield Group(setting.name, lambda setting=setting: self._alone(setting))  # type: ignore[misc]
            for teacher in teachers:
                yield Group(
                    f"{setting.name}, {teacher}",
                    lambda setting=setting, teacher=teacher: self._taught(setting, teacher),  # type: ignore[misc]
                )

    def _alone(self, setting: Setting) -> list[tuple[Line, Work]]:
        bare, images = self._student(setting), noise(setting)
        ceiling = Line(f"{setting.name}: (a) bare step")
        labels = _target(setting, f"{setting.name}: (b) from labels")
        kept = _target(setting, f"{setting.name}: (d) from a table")

        def steps() -> list[Call]:
            return [bare.step(way) for way in bare.kept]

        def supervised() -> Task:
            return build(setting, [on_labels()], {})

        def distilled() -> Task:
            return build(setting, [on_labels(), from_teacher()], table(setting, images))

        def from_table(line: Line) -> dict[str, float]:
            figures = ours(setting, distilled, ceiling, steps)(line)
            more = 1 / figures["images/s"] - 1 / labels.figures.get("images/s", math.nan)
            return {**figures, "ms more than (b)": 1e3 * setting.batch * more}

        def from_disk(line: Line) -> dict[str, float]:
            with tempfile.TemporaryDirectory() as place:
                teachers = table_on_disk(images, Path(place))
                stored = looked_up(teachers, {"main": "clean"})

                def distilled() -> Task:
                    return build(setting, [on_labels(), from_teacher()], teachers)

                return ours(setting, distilled, ceiling, steps, stored=stored)(line)

        works: list[tuple[Line, Work]] = [
            (ceiling, bare.ceiling),
            (labels, ours(setting, supervised, ceiling, steps)),
            (kept, from_table),
            (Line(f"{setting.name}: (d) from a table on disk"), from_disk),
        ]
        if setting.compiles and not setting.cuda:
            plain = replace(setting, compiles=False)
            share = "of a step that is not compiled"
            beside = ours(plain, supervised, ceiling, lambda: [bare.step(KEPT)], share)
            works.append((Line(f"{setting.name}: (b) not compiled, as runs are unless told to be"), beside))
        return works

    def _taught(self, setting: Setting, backbone: str) -> list[tuple[Line, Work]]:
        bare, teacher = self._student(setting), setting.teacher(backbone)
        ceiling = Line(f"{setting.name}: bare step and {backbone}")

        def steps() -> list[Call]:
            return [bare.step(way, teacher) for way in bare.kept]

        def together(line: Line) -> dict[str, float]:
            return bare.ceiling(line, teacher)

        def distilled() -> Task:
            return build(setting, [on_labels(), from_teacher()], live(setting, backbone))

        return [
            (ceiling, together),
            (
                _target(setting, f"{setting.name}: (c) from a live {backbone}"),
                ours(setting, distilled, ceiling, steps),
            ),
        ]

    def _student(self, setting: Setting) -> Bare:
        """The bare student, kept from one group to the next so that it is compiled once."""
        if self._bare is None or self._bare[0] != setting:
            self._bare = None  # the memory first
            self._bare = setting, Bare(setting)
        return self._bare[1]


def ours(
    setting: Setting,
    task: Callable[[], Task],
    ceiling: Line,
    steps: Callable[[], Sequence[Call]],
    share: str = SHARE,
    *,
    stored: Stored | None = None,
) -> Work:
    """Measures the package's loop beside a ceiling.

    On a CPU, whose speed other processes change from second to second, rounds of the bare step are taken
    before and after each of the loop's own and are its ceiling; the share is the median over the rounds. Of
    several ways to take the bare step it is the fastest, over all rounds.

    Args:
        setting: The networks and sizes.
        task: Builds what is trained.
        ceiling: The line of the bare step.
        steps: Gives the bare step itself, in one or several ways.
        share: What to call the row's rate by that of the bare step.
        stored: What looks up answers that lie on disk.
    """

    def work(line: Line) -> dict[str, float]:
        del line
        if not ceiling.figures:
            raise RuntimeError("there is no ceiling")
        guess = ceiling.figures["images/s"]
        ways: list[tuple[Call, list[float]]] = [] if setting.cuda else [(step, []) for step in steps()]

        def between() -> None:
            for step, taken in ways:
                taken.extend(rates(step, setting.batch, setting, 1))

        found, memory = train(setting, noise(setting), task(), guess, between, stored)
        beside = max((taken for _, taken in ways), key=statistics.median, default=[])
        around = [sum(pair) / 2 for pair in pairwise(beside)] or [guess] * len(found)
        reached = statistics.median(mine / top for mine, top in zip(found, around, strict=True))
        figures = {share: reached, "images/s": statistics.median(found), "GB at most": memory}
        return figures if setting.cuda else {**figures, "images/s beside it": statistics.median(beside)}

    return work


def _target(setting: Setting, what: str) -> Line:
    """A line that should reach its ceiling: every one on a GPU, that on labels on a CPU."""
    if not setting.cuda and "(b)" not in what:
        return Line(what)
    least = 0.75 if setting.cuda and setting.batch < 128 else 0.9
    return Line(what, f"≥ {least} of the ceiling", least, at_least=True)
