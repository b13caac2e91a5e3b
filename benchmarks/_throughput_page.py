"""The rows (a) to (d) side by side, a line for each student, batch and size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from _losses_table import Line

SHARE = "of the ceiling"


def side_by_side(lines: Iterable[Line]) -> list[str]:
    """A table in Markdown of images/s, each with its share of its own ceiling; none without such lines."""
    rows: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for line in lines:
        name, _, what = line.what.partition(": ")
        if "images/s" in line.figures and (what.startswith("(a)") or SHARE in line.figures):
            rows.setdefault(name, {})[what] = _cell(line.figures)
            columns[what] = None
    if not rows:
        return []
    head = ["", *columns]
    body = ([name, *(row.get(column, "—") for column in columns)] for name, row in rows.items())
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *body)]


def _cell(figures: Mapping[str, float]) -> str:
    share = f" ({figures[SHARE]:.2f})" if SHARE in figures else ""
    return f"{figures['images/s']:,.0f}{share}"
