"""The table of a study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from understudy.study.statistics import mean_and_deviation
from understudy.training.protocols import in_words


def to_markdown(results: Mapping[str, Any]) -> str:
    """Writes a study's results as a Markdown page.

    Args:
        results: What `run_study` gives (the content of ``results.json``).

    Returns:
        A heading, the table, the paired tests and how it was measured.
    """
    metrics: Sequence[str] = results["metrics"]
    gaps = sorted({name for row in results["rows"] for name in row.get("gap") or ()})
    head = ["", "parameters", "MACs", f"{results['device']} images/s", *(_title(name) for name in metrics)]
    head += [f"{_title(name)}, gap closed" for name in gaps]
    lines = [f"# {results['study']}", ""]
    if results["about"]:
        lines += [results["about"], ""]
    lines += [_line(head), _line(["---", *["--:"] * (len(head) - 1)])]
    for row in results["rows"]:
        figures = [percent(row["metrics"].get(name)) for name in metrics]
        figures += [percent((row.get("gap") or {}).get(name)) for name in gaps]
        lines.append(
            _line(
                [
                    row["name"],
                    _thousands(row["parameters"]),
                    _thousands(row["macs"]),
                    _speed(row["images_per_second"]),
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
                    chance(test["p"]),
                    str(test["seeds"]),
                ]
            )
            for test in results["tests"]
        ]
    for row in results["rows"]:
        for seed, how in (row.get("diverged") or {}).items():
            lines += ["", f"{row['name']} has no figures: with seed {seed} {how}."]
    chosen = [row for row in results["rows"] if row.get("chosen")]
    if chosen:
        lines += ["", "Chosen on the validation split:", ""]
        lines += [f"* {row['name']}: `{row['chosen']['settings']}`" for row in chosen]
    return "\n".join(lines) + "\n"


def _caption(results: Mapping[str, Any]) -> str:
    seeds = len(results["seeds"])
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    where = in_words(results["split"])
    sentences = [f"Figures in percent on {where}, {spread}; speed of one process on {results['hardware']}."]
    trained = sorted({row["trained_on"] for row in results["rows"] if row.get("trained_on")})
    if trained:
        sentences.append(f"Trained on {', '.join(trained)}{_hours(results.get('gpu_seconds'))}.")
    commit = results.get("commit")
    version = f"understudy {results['version']}"
    sentences.append(f"{version}, commit {commit[:10]}." if commit else f"{version}.")
    return " ".join(sentences)


def _hours(gpu_seconds: float | None) -> str:
    if not gpu_seconds:
        return ""
    return (
        f", {gpu_seconds / 3600:.1f} GPU hours" if gpu_seconds >= 3600 else f", {gpu_seconds:.0f} GPU seconds"
    )


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def percent(values: Sequence[float] | None) -> str:
    """A figure over the seeds, in percent.

    Example:
        >>> percent([0.5, 0.52]), percent([0.5]), percent(None)
        ('51.0 ± 1.4', '50.0', '–')
    """
    if not values:
        return "–"
    mean, deviation = mean_and_deviation([100 * value for value in values])
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ± {deviation:.1f}"


def chance(p: float | None) -> str:
    """The p of a paired test; a dash where there was no error to compare the difference with.

    Example:
        >>> chance(0.0412), chance(None)
        ('0.041', '–')
    """
    return "–" if p is None else f"{p:.2g}"


def _speed(images_per_second: float | None) -> str:
    return "–" if images_per_second is None else f"{images_per_second:,.0f}"


def _thousands(count: float | None) -> str:
    if count is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(int(count))


def _title(metric: str) -> str:
    """A figure's name in the field's words.

    Example:
        >>> [_title(name) for name in ("cmc@1", "map@r", "multi/map", "asymmetric/recall@1", "dim16/minp")]
        ['rank-1', 'MAP@R', 'multi-query mAP', 'asymmetric Recall@1', 'dim 16 mINP']
    """
    where, _, name = metric.rpartition("/")
    where = {"multi": "multi-query ", "": ""}.get(where, where.replace("dim", "dim ") + " ")
    name, _, cut = name.partition("@")
    if name == "cmc":
        return f"{where}rank-{cut}"
    if not cut:
        return where + {"map": "mAP", "minp": "mINP", "r_precision": "R-precision"}.get(name, name)
    names = {"recall": "Recall", "map": "MAP", "neighbour_overlap": "neighbour overlap"}
    return f"{where}{names.get(name, name)}@{cut.upper()}"
