"""One line of a benchmark's table: what was measured, beside its target."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

_START = time.monotonic()


@dataclass
class Line:
    """One measurement.

    Attributes:
        what: The loss, its settings and the sizes.
        target: What the first figure should be, in words; empty where it is only stated.
        limit: The number in the target.
        at_least: Whether the figure should reach the limit instead of staying below it.
        figures: The numbers, by their unit or a short name; the first is the one that the target is about.
        note: How it was measured, where that needs saying.
        error: What went wrong, if the line could not be measured.
    """

    what: str
    target: str = ""
    limit: float | None = None
    at_least: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""
    error: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without target. What could not be measured is not met."""
        if self.limit is None:
            return None
        if self.error or not self.figures:
            return False
        figure = next(iter(self.figures.values()))
        return figure >= self.limit if self.at_least else figure <= self.limit

    def as_json(self) -> dict[str, object]:
        """Everything that is known, for the file."""
        found: dict[str, object] = {
            "what": self.what,
            "figures": {k: _round(v) for k, v in self.figures.items()},
        }
        if self.limit is not None:
            found |= {"target": self.target, "met": self.met}
        return found | {key: value for key in ("note", "error") if (value := getattr(self, key))}

    def as_markdown(self) -> str:
        """A row of the table."""
        measured = self.error and f"error: {self.error}"
        measured = measured or ", ".join(f"{_number(value)} {name}" for name, value in self.figures.items())
        verdict = {True: "yes", False: "**no**", None: "—"}[self.met]
        cells = (
            f"{self.what} ({self.note})" if self.note else self.what,
            measured,
            self.target or "—",
            verdict,
        )
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def measure(line: Line, work: Callable[[], dict[str, float]], *, quiet: bool = False) -> Line:
    """Fills in the figures; a failure becomes the line's error, so that the others are still measured."""
    try:
        line.figures = work()
    except Exception as error:  # noqa: BLE001 (whatever fails, the table is still written)
        line.error = in_short(error)
    if not quiet:
        say(line.as_markdown())
    return line


def markdown(title: str, lines: list[Line], notes: str) -> str:
    """The table as a page."""
    missed = [line.what for line in lines if line.met is False]
    held = sum(line.met is True for line in lines)
    verdict = f"{held} of {held + len(missed)} targets met" + (
        f"; missed: {'; '.join(missed)}." if missed else "."
    )
    head = ["| what | measured | target | met |", "| --- | --- | --- | --- |"]
    rows = [line.as_markdown() for line in lines]
    return "\n".join([f"# {title}", "", verdict, "", *head, *rows, "", notes]) + "\n"


def in_short(error: Exception) -> str:
    """The kind and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def say(text: str) -> None:
    """Prints progress with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", flush=True)


def elapsed() -> float:
    """Seconds since the start."""
    return time.monotonic() - _START


def _round(value: float) -> float:
    return float(f"{value:.4g}")


def _number(value: float) -> str:
    if value != 0 and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
