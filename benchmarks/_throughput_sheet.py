"""The lines of a long measurement in groups, written after each, so that another run can go on."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from _losses_table import Line, elapsed, in_short, markdown, measure, say
from _throughput_page import side_by_side

from understudy.files import write_json, write_text

Work = Callable[[Line], dict[str, float]]


@dataclass(frozen=True)
class Group:
    """Lines that are measured one right after another, because some are ratios to others.

    Attributes:
        name: What `Sheet.run` chooses by.
        lines: Gives the lines and what measures each; called when the group's turn has come.
    """

    name: str
    lines: Callable[[], Iterable[tuple[Line, Work]]]


@dataclass
class Sheet:
    """A table on its way.

    Attributes:
        out: The JSON file; a page is written beside it.
        title: Of the page.
        about: What the JSON file says beside the lines.
        notes: What holds for all lines.
        writes: Whether this process prints and writes.
        stops: Whether an error ends the measurement, because other processes would wait for this one.
    """

    out: Path
    title: str
    about: dict[str, Any]
    notes: str
    writes: bool = True
    stops: bool = False
    _done: dict[str, list[Line]] = field(default_factory=dict)
    _complete: set[str] = field(default_factory=set)

    def merge(self, earlier: Path) -> None:
        """Takes over the groups that an earlier run has measured without an error; none if it has no file."""
        if not earlier.exists():
            return
        found = json.loads(earlier.read_text(encoding="utf-8"))
        for saved in found["lines"]:
            line = Line(**{key: saved[key] for key in Line.__dataclass_fields__ if key in saved})
            self._done.setdefault(saved["group"], []).append(line)
        self._complete |= set(found["complete"])
        self._complete -= {name for name, lines in self._done.items() if any(line.error for line in lines)}

    def run(self, groups: Iterable[Group], *, only: str = "", until: float | None = None) -> None:
        """Measures what is not there yet.

        Args:
            groups: In this order.
            only: A regular expression that must be found in a group's name.
            until: No group is begun after so many seconds.
        """
        for group in groups:
            if group.name in self._complete or not re.search(only, group.name):
                continue
            if until is not None and elapsed() > until:
                self._say(f"{group.name} and what follows is left for another run")
                break
            self._measure(group)
        self._say(f"{self.out}, {self.out.with_suffix('.md').name}: {elapsed():.0f} s in all")

    def _measure(self, group: Group) -> None:
        lines = self._done[group.name] = []
        try:
            for line, work in group.lines():
                lines.append(
                    measure(line, lambda line=line, work=work: work(line), quiet=not self.writes)  # type: ignore[misc]
                )
                self._write()
                if self.stops and lines[-1].error:
                    break
        except Exception as error:  # noqa: BLE001 (building failed; the other groups are still measured)
            lines.append(Line(group.name, error=in_short(error)))
            self._say(lines[-1].as_markdown())
        if self.stops and lines[-1].error:
            raise SystemExit(lines[-1].error)
        self._complete.add(group.name)
        self._write()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _write(self) -> None:
        if not self.writes:
            return
        saved = [
            {"group": name, **line.as_json(), "limit": line.limit, "at_least": line.at_least}
            for name, lines in self._done.items()
            for line in lines
        ]
        write_json(self.out, {**self.about, "complete": sorted(self._complete), "lines": saved})
        every = [line for lines in self._done.values() for line in lines]
        page = markdown(self.title, every, self.notes)
        if summary := side_by_side(every):
            page = "\n".join([page, "Side by side, in brackets the share of the ceiling:", "", *summary, ""])
        write_text(self.out.with_suffix(".md"), page)

    def _say(self, text: str) -> None:
        if self.writes:
            say(text)
