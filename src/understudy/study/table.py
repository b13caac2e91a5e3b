"""The table of a study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.study.statistics import mean_and_deviation


def to_markdown(results: Mapping[str, Any]) -> str:
    """Writes a study's results as a Markdown page.

    Args:
        results: What `run_study` gives (the content of ``results.json``).

    Returns:
        A heading, the table, the paired tests and how it was measured.
    """
    metrics: Sequence[str] = results["metrics"]
    head = ["", "parameters", "MACs", f"{results['device']} images/s", *(_title(name) for name in metrics)]
    lines = [f"# {results['study']}", ""]
    if results["about"]:
        lines += [results["about"], ""]
    lines += [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    for row in results["rows"]:
        figures = [_figure(row["metrics"].get(name)) for name in metrics]
        lines.append(
            _line(
                [
                    row["name"],
                    _thousands(row["parameters"]),
                    _thousands(row["macs"]),
                    f"{row['images_per_second']:,.0f}",
                    *figures,
                ]
            )
        )
    lines += ["", _caption(results)]
    if results["tests"]:
        lines += [
            "",
            "| compared, seed by seed | difference | paired t | p | seeds |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [
            _line(
                [
                    f"{test['second']} − {test['first']} ({_title(test['metric'])})",
                    f"{100 * test['difference']:+.2f}",
                    "–" if test["t"] is None else f"{test['t']:.2f}",
                    f"{test['p']:.2g}",
                    str(test["seeds"]),
                ]
            )
            for test in results["tests"]
        ]
    chosen = [row for row in results["rows"] if row.get("chosen")]
    if chosen:
        lines += ["", "Chosen on the validation split:", ""]
        lines += [f"* {row['name']}: `{row['chosen']['settings']}`" for row in chosen]
    return "\n".join(lines) + "\n"


def _caption(results: Mapping[str, Any]) -> str:
    seeds = max(len(next(iter(row["metrics"].values()), [])) for row in results["rows"])
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    return (
        f"Figures in percent on the {results['split']} split, {spread}; speed of one process on "
        f"{results['hardware']}. understudy {results['version']}."
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(values: Sequence[float] | None) -> str:
    if not values:
        return "–"
    mean, deviation = mean_and_deviation([100 * value for value in values])
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ± {deviation:.1f}"


def _thousands(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(int(count))


def _title(metric: str) -> str:
    names = {"recall": "Recall", "map": "MAP", "neighbour_overlap": "neighbour overlap"}
    name, _, cut = metric.partition("@")
    return f"{names.get(name, name)}@{cut.upper()}" if cut else names.get(name, name)
