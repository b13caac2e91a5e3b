"""Figure 3 and the learning curves as pictures, from their JSON alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.study.statistics import mean_and_deviation

_COLOURS = {"soft": "#1b6ca8", "hard": "#c8553d"}
_TITLES = {
    "alpha": "α",
    "beta": "β",
    "weight x": "λ, as a multiple of the middle one",
    "list": "list length",
    "beta 3, entropy": "target entropy, β = 3",
    "beta 1, entropy": "target entropy, β = 1",
}


def draw(results: Mapping[str, Any], out: Path) -> list[Path]:
    """Draws what a part has to show, as SVG; the same results give the same file."""
    pictures = {"figure3": _figure3, "curves": _curves, "teacher": _teacher}
    if results["part"] not in pictures:
        return []
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "understudy"
    figure = pictures[results["part"]](results)
    place = out / f"darkrank-{results['part']}.svg"
    draft = place.with_name(f".{place.name}")
    figure.savefig(draft, format="svg", metadata={"Date": None}, bbox_inches="tight")
    draft.replace(place)
    return [place]


def _figure3(results: Mapping[str, Any]) -> Any:
    """A panel for each setting: mAP against α, β, λ, the list length and the target entropy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.6))
    for place, (varied, title) in enumerate(_TITLES.items(), 1):
        panel = figure.add_subplot(2, 3, place)
        for kind, colour in _COLOURS.items():
            points = [
                point
                for point in results["points"]
                if (point["kind"], point["varied"]) == (kind, varied) and point["metrics"]
            ]
            where = [_position(point["value"]) for point in points]
            _spread(panel, where, [point["metrics"]["map"] for point in points], kind, colour)
        if varied in ("weight x", "list"):
            panel.set_xscale("log")
        if varied == "list":
            values = sorted({_position(p["value"]) for p in results["points"] if p["varied"] == "list"})
            panel.set_xticks(values, [f"{value:g}" if value < 127 else "all" for value in values])
            panel.minorticks_off()
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
        if place % 3 == 1:
            panel.set_ylabel("mAP, %")
        if place == 1:
            panel.legend(frameon=False)
    figure.tight_layout()
    return figure


def _curves(results: Mapping[str, Any]) -> Any:
    """Two panels: the student alone by its learning rate, and by its epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    for place, word in enumerate(("learning rate", "epochs"), 1):
        panel = figure.add_subplot(1, 2, place)
        for name, seeds in results["curves"].items():
            if word in name:
                values = list(zip(*(curve["map"] for curve in seeds), strict=True))
                _spread(panel, seeds[0]["step"], values, name, None)
        _label(panel, "mAP, %")
    figure.tight_layout()
    return figure


def _teacher(results: Mapping[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.2))
    panel = figure.add_subplot(1, 1, 1)
    curve = results["curve"]
    for key, title in (("map", "mAP"), ("cmc@1", "rank-1")):
        _spread(panel, curve["step"], [[value] for value in curve[key]], title, None)
    _label(panel, "%")
    figure.tight_layout()
    return figure


def _spread(
    panel: Any, where: Sequence[float], values: Sequence[Sequence[float]], name: str, colour: str | None
) -> None:
    pairs = sorted(
        (x, *mean_and_deviation([100 * value for value in y])) for x, y in zip(where, values, strict=True)
    )
    x, mean, deviation = ([pair[place] for pair in pairs] for place in range(3))
    panel.errorbar(x, mean, yerr=deviation, label=name, color=colour, marker="o", markersize=3, capsize=2)


def _label(panel: Any, figure: str) -> None:
    """Names the axes, and the curves below them, where the legend hides none."""
    panel.set_xlabel("step")
    panel.set_ylabel(f"{figure}, on identities set aside")
    panel.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    panel.grid(alpha=0.3)


def _position(value: str) -> float:
    """Where a value stands; the whole batch has 127 candidates.

    Example:
        >>> _position("whole"), _position("12.25")
        (127.0, 12.25)
    """
    return 127.0 if value == "whole" else float(value)
