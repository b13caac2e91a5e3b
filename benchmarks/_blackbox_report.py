"""The page of the black-box bench, written from what its runs wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from _blackbox_rows import FEW, LABELS, MIXED, RELATIVE, TUNED

from understudy.study.statistics import mean_and_deviation, paired_test
from understudy.study.table import chance, percent

Line = dict[str, Any]


def collect(method: str, fraction: float, places: Sequence[Path], file: str) -> Line | None:
    """What the runs of a row found.

    Args:
        method: The method's name.
        fraction: Its share of the images.
        places: The directories of its runs.
        file: The file in each whose ``metrics`` count; those ``beside`` it are kept too.

    Returns:
        The line; None while a run is not finished, or where one diverged.
    """
    if not all((place / file).is_file() for place in places):
        return None
    found = [_read(place / file) for place in places]
    summaries = [_read(place / "summary.json") for place in places]
    line: Line = {
        "method": method,
        "fraction": fraction,
        "images": summaries[0]["images"],
        "queries": summaries[0]["teacher_queries"],
        "seconds": [summary["seconds"] for summary in summaries],
        "figures": {key: [one["metrics"][key] for one in found] for key in found[0]["metrics"]},
    }
    for name, figures in found[0].get("beside", {}).items():
        line[name] = {key: [one["beside"][name][key] for one in found] for key in figures}
    return line


def tests(lines: Sequence[Line], pairs: Sequence[tuple[str, str]], metric: str) -> list[Line]:
    """Paired tests of methods over the seeds, at each share of the images and over all shares together.

    Returns:
        One for each pair and share of which there are two seeds, and then one of the pair over all shares
        (``fraction`` None): its pairs are those of every seed at every share.

    Example:
        >>> figures = {"a": [0.1, 0.2, 0.3], "b": [0.2, 0.3, 0.41]}
        >>> lines = [{"method": m, "fraction": 1.0, "figures": {"map": f}} for m, f in figures.items()]
        >>> found, together = tests(lines, [("a", "b")], "map")
        >>> round(found["difference"], 3), found["p"] < 0.01, together["seeds"]
        (0.103, True, 3)
    """
    by = {(line["method"], line["fraction"]): line["figures"][metric] for line in lines}
    found: list[Line] = []
    for first, second in pairs:
        shares = [share for method, share in sorted(by) if method == first and (second, share) in by]
        sides = [([by[first, share]], [by[second, share]], share) for share in shares]
        sides.append(([by[first, share] for share in shares], [by[second, share] for share in shares], None))
        for ours, theirs, share in sides:
            a, b = (list(chain.from_iterable(side)) for side in (ours, theirs))
            if len(a) > 1:
                found.append({**paired_test(first, second, metric, a, b).to_dict(), "fraction": share})
    return found


def page(results: Mapping[str, Any]) -> str:
    """The Markdown page of the results."""
    return "\n\n".join(part for part in _parts(results) if part) + "\n"


def _parts(results: Mapping[str, Any]) -> Iterator[str]:
    metrics, lines = results["metrics"], results["curves"]
    yield f"# Students of a stored table: {results['data']}"
    yield results["about"]
    yield _conditions(results)
    if results.get("diverged"):
        yield f"Without figures, for a run of theirs diverged: {'; '.join(results['diverged'])}."
    if lines:
        yield "## By the share of the training images"
    for metric in metrics if lines else ():
        yield _curves(lines, metric, results["teacher"])
    yield _verdict(results["tests"], metrics[0])
    if results["other_tests"]:
        yield "What else the curves compare:"
        yield _differences(results["other_tests"])
    if results["switches"]:
        yield "## Mixtures, one switch at a time"
        both = [line for line in lines if line["method"] in (RELATIVE, MIXED)] + results["switches"]
        yield _curves(both, metrics[0], results["teacher"])
        yield _differences(results["switch_tests"])
    if results["aligned"]:
        yield "## The student's queries in the teacher's gallery"
        yield _aligned(results["aligned"], metrics[0], results["teacher"])


def _conditions(results: Mapping[str, Any]) -> str:
    rates = ", ".join(map(str, results["rates"]))
    chosen = ", ".join(f"{name} {rate}" for name, rate in results["chosen"].items())
    tuned = (
        f"At {100 * TUNED:g} % every method of the curves chose its learning rate of {rates} on validation "
        f"classes, in {results['steps'] // 3} steps with a seed that is not used again ({chosen}); the "
        "switches share that of the mixtures, the losses in the teacher's gallery are not tuned. "
        if chosen
        else f"Learning rate {rates}, not tuned. "
    )
    return (
        "The teacher is a table: one stored vector an image, made of the plain image, while students see "
        f"augmented ones. Every row takes {results['steps']} steps of up to 128 images, whatever its share. "
        + tuned
        + f"Mean ± standard deviation over {results['seeds']} seeds, in percent; a seed decides the weights, "
        "the batches and which images make up the share, drawn without a look at labels. "
        f"`{LABELS}` has the labels of those images and no teacher; all others have no label. Its "
        f"batches hold four images a class, two where the share is {100 * FEW:g} % or less and hardly any "
        "class has more. "
        f"{results['hardware']}, understudy {results['version']}."
    )


def _curves(lines: Sequence[Line], metric: str, teacher: Mapping[str, float]) -> str:
    shares: dict[float, Any] = {line["fraction"]: line["images"] for line in lines}
    head = [_title(metric), *(f"{100 * share:g} %: {shares[share]:,} images" for share in sorted(shares))]
    by = {(line["method"], line["fraction"]): line for line in lines}
    rows = [
        [method, *(_figure(by.get((method, share)), metric) for share in sorted(shares))]
        for method in dict.fromkeys(line["method"] for line in lines)
    ]
    if metric in teacher:
        rows.append(["the teacher", *["" for _ in list(shares)[1:]], f"{100 * teacher[metric]:.1f}"])
    return _table(head, rows)


def _verdict(tests: Sequence[Mapping[str, Any]], metric: str) -> str:
    """What mixtures add, in words that the numbers choose."""
    single = [test["difference"] for test in tests if test["fraction"] is not None]
    if not single:
        return ""
    ahead = sum(difference > 0 for difference in single)
    mean = sum(single) / len(single)
    return (
        "**What mixtures add.** The same loss with and without mixtures of embeddings, at equal steps, each "
        f"with the learning rate it chose: with them it is ahead in {ahead} of {len(single)} comparisons, by "
        f"{100 * mean:+.1f} points of {_title(metric)} in the mean ({100 * min(single):+.1f} to "
        f"{100 * max(single):+.1f}). Where the two chose different rates, as named above, the difference "
        "holds that of the rates too, and is not the mixtures' alone. Paired t tests, seed by seed, over all "
        "shares with every seed at every share as a pair: a seed's shares are nested, so those pairs are "
        "not independent and their p is too small; no p is corrected for the number of tests:\n\n"
        + _differences(tests)
    )


def _differences(tests: Sequence[Mapping[str, Any]]) -> str:
    """A row for each pair: the difference in points and the p of a paired t test."""
    shares = sorted({test["fraction"] for test in tests if test["fraction"] is not None})
    by = {(test["first"], test["second"], test["fraction"]): test for test in tests}
    rows = []
    for first, second in dict.fromkeys((test["first"], test["second"]) for test in tests):
        cells = [by.get((first, second, share)) for share in (*shares, None)]
        rows.append([f"{second} − {first}", *("–" if test is None else _difference(test) for test in cells)])
    head = ["difference in points (p)", *(f"{100 * share:g} %" for share in shares), "all shares"]
    return _table(head, rows) if rows else ""


def _difference(test: Mapping[str, Any]) -> str:
    return f"{100 * test['difference']:+.1f} ({chance(test['p'])})"


def _aligned(lines: Sequence[Line], metric: str, teacher: Mapping[str, float]) -> str:
    rows = [
        [line["method"], _figure(line, metric), percent(line.get("student", {}).get(metric))]
        for line in sorted(lines, key=lambda line: -mean_and_deviation(line["figures"][metric])[0])
    ]
    if metric in teacher:
        rows.append(["the teacher", f"{100 * teacher[metric]:.1f}", f"{100 * teacher[metric]:.1f}"])
    return (
        "All images, no labels. On the left the gallery stays as the teacher embedded it, and the student "
        "embeds the queries alone; on the right it embeds both.\n\n"
        + _table([_title(metric), "in the teacher's gallery", "in its own"], rows)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(head), ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _figure(line: Line | None, metric: str) -> str:
    return "–" if line is None else percent(line["figures"].get(metric))


def _title(metric: str) -> str:
    names = {"recall@1": "Recall@1", "map@r": "MAP@R", "map": "mAP", "cmc@1": "rank-1"}
    return names.get(metric, metric.replace("_", " "))


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value
