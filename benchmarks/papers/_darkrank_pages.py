"""The pages of the DarkRank bench: each part's tables, from its JSON alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from _darkrank_published import COLUMNS, SPEED
from _darkrank_studies import TEACHER

from understudy.study.statistics import mean_and_deviation
from understudy.study.table import chance, percent

Results = Mapping[str, Any]

TITLES = {
    "map": "mAP",
    "cmc@1": "rank-1",
    "multi/map": "multi mAP",
    "multi/cmc@1": "multi rank-1",
    "asymmetric/map": "asymmetric mAP",
    "asymmetric/cmc@1": "asymmetric rank-1",
    "neighbour_overlap@10": "overlap@10",
}
_FURTHER = ("asymmetric/map", "asymmetric/cmc@1", "neighbour_overlap@10")
_HEADS = {
    "teacher": "The teacher",
    "curves": "The student alone: learning rate and epochs",
    "table1": "Table 1",
    "table3": "Table 3, without labels",
    "figure3": "Figure 3",
    "beyond": "Beyond the paper",
    "table5": "Table 5",
}


def page(results: Results) -> str:
    """A part's page: its tables, and by what they were measured."""
    return f"# DarkRank on Market-1501: {_HEADS[results['part']]}\n\n{body(results)}\n"


def body(results: Results) -> str:
    """A part's tables with their caption, as they stand on the docs page too."""
    parts: dict[str, Callable[[Results], Iterator[str]]] = {
        "teacher": _teacher,
        "curves": _curves,
        "figure3": _figure3,
        "table5": _table5,
    }
    blocks = parts.get(results["part"], _study)(results)
    return "\n\n".join([*blocks, _caption(results)])


def _study(results: Results) -> Iterator[str]:
    yield results["about"]
    yield _epochs(results)
    yield _beside(results)
    yield _further(results)
    yield from _diverged(results["rows"])
    yield from _compared(results)
    yield from _chosen(results)


def _diverged(rows: Sequence[Results]) -> Iterator[str]:
    """Which rows have no figures, and why; a point of two figures is told once."""
    told = (
        "; ".join(f"{row['name']}, seed {seed}: {how}" for seed, how in row["diverged"].items())
        for row in rows
        if row.get("diverged")
    )
    yield from dict.fromkeys(told)


def _epochs(results: Results) -> str:
    """How many and from how many seeds, of most rows, and which have others."""
    found = {
        row["name"]: f"{row['epochs']:.0f} epochs, seeds {', '.join(map(str, row['seeds']))}"
        for row in results["rows"]
        if row["seeds"] and row["metrics"]
    }
    usual = max(found.values(), key=[*found.values()].count)
    others = [f"{name}: {text}" for name, text in found.items() if text != usual]
    rates = {f"{one['base']['optim']['lr']:g}" for one in results.get("configurations", {}).values()}
    rate = f" The learning rate is {' or '.join(sorted(rates))} where none was chosen." if rates else ""
    return f"Every row: {'; but '.join([usual, *others])}.{rate}"


def _beside(results: Results) -> str:
    """Ours, and what was printed, in turn."""
    columns = [name for name in COLUMNS if any(name in row["metrics"] for row in results["rows"])]
    head = ["", *(word for name in columns for word in (TITLES[name], "paper"))]
    rows = []
    for row in results["rows"]:
        printed = results["published"].get(row["name"], {})
        cells = (
            cell
            for name in columns
            for cell in (percent(row["metrics"].get(name)), _number(printed.get(name)))
        )
        rows.append([row["name"], *cells])
    return table(head, rows)


def _further(results: Results) -> str:
    """What the paper does not measure, and the weights that were chosen."""
    rows = [
        [
            row["name"],
            *(percent(row["metrics"].get(name)) for name in _FURTHER),
            _gap(row),
            _settings(row["chosen"]["settings"]) if row.get("chosen") else "",
        ]
        for row in results["rows"]
    ]
    return table(["", *(TITLES[name] for name in _FURTHER), "gap closed (mAP)", "chosen"], rows)


def _compared(results: Results) -> Iterator[str]:
    if not results["tests"]:
        return
    rows = []
    for test in results["tests"]:
        first, second = (results["published"].get(test[side], {}) for side in ("first", "second"))
        told = bool(first and second) and first != second  # two rows of ours may stand for one of the paper's
        difference = f"{second[test['metric']] - first[test['metric']]:+.1f}" if told else "–"
        rows.append(
            [
                f"{test['second']} − {test['first']}",
                TITLES[test["metric"]],
                f"{100 * test['difference']:+.1f}",
                "–" if test["t"] is None else f"{test['t']:.1f}",
                chance(test["p"]),
                difference,
            ]
        )
    yield table(["compared, seed by seed", "", "points", "paired t", "p", "paper"], rows)


def _chosen(results: Results) -> Iterator[str]:
    """Which rows chose the first or the last of what they tried: a wider search might find better."""
    edges = [
        row["name"]
        for row in results["rows"]
        if row.get("chosen")
        and len(row["chosen"]["tried"]) > 2
        and row["chosen"]["settings"]
        in (row["chosen"]["tried"][0]["settings"], row["chosen"]["tried"][-1]["settings"])
    ]
    if edges:
        yield f"At an end of what was tried: {'; '.join(edges)}."


def _teacher(results: Results) -> Iterator[str]:
    measured = results["measured"]
    single, multi = (
        measured["teacher-reid"]["metrics"],
        measured.get("teacher-reid_multi", {}).get("metrics", {}),
    )
    ours = {**single, **{f"multi/{name}": value for name, value in multi.items()}}
    rows = [
        [
            "teacher",
            *(
                cell
                for name in COLUMNS
                for cell in (_one(ours.get(name)), _number(results["published"][name]))
            ),
        ]
    ]
    yield table(["", *(word for name in COLUMNS for word in (TITLES[name], "paper"))], rows)
    run = results["runs"]["teacher"]
    yield (
        f"{run['parameters']:,} parameters, {run['macs']:,} multiply-adds; {run['steps']:,} steps of "
        f"{run['batch_size']} on {run['images']:,} images. Trained on four fifths of the identities, it has "
        f"{_one(results['runs']['teacher-val']['metrics'].get('map'))} mAP on the others."
    )
    bare = [name for name in measured if not name.startswith("teacher-reid")]
    yield "Pooled features before anything is learned: were the ImageNet weights loaded right?"
    yield table(
        ["network and weights", "mAP", "rank-1"],
        [
            [
                name.removesuffix("-reid").replace("-", ", "),
                *(_one(measured[name]["metrics"].get(key)) for key in ("map", "cmc@1")),
            ]
            for name in bare
        ],
    )


def _curves(results: Results) -> Iterator[str]:
    yield results["about"]
    rows = [
        [row["name"], *(percent(row["metrics"].get(name)) for name in ("map", "cmc@1"))]
        for row in results["rows"]
    ]
    yield table(["", "mAP", "rank-1"], rows)
    yield from _diverged(results["rows"])


def _figure3(results: Results) -> Iterator[str]:
    for varied in dict.fromkeys(point["varied"] for point in results["points"]):
        points = [point for point in results["points"] if point["varied"] == varied]
        values = sorted({point["value"] for point in points}, key=_order)
        rows = []
        for kind in dict.fromkeys(point["kind"] for point in points):
            found = {point["value"]: point for point in points if point["kind"] == kind}
            rows.append(
                [kind, *(percent(found[v]["metrics"].get("map")) if v in found else "" for v in values)]
            )
        yield table([f"mAP at {varied}", *values], rows)
    yield from _diverged(results["points"])


def _table5(results: Results) -> Iterator[str]:
    speeds = results["speeds"]
    teacher = next(row for row in results["rows"] if row["name"] == TEACHER)
    wanted = mean_and_deviation(teacher["metrics"]["cmc@1"])[0] - 0.01
    rows = []
    near = []
    for row in results["rows"]:
        cells = [
            "–" if row["parameters"] is None else f"{row['parameters'] / 1e6:.2f} M",
            "–" if row["macs"] is None else f"{row['macs'] / 1e6:,.0f} M",
            *(f"{place['images_per_second'][row['name']]:,.0f}" for place in speeds),
            *(percent(row["metrics"].get(name)) for name in COLUMNS[:2]),
        ]
        rows.append([row["name"], *cells])
        if row["seeds"] and row["metrics"] and mean_and_deviation(row["metrics"]["cmc@1"])[0] >= wanted:
            near.append((row["parameters"], row["macs"], row["name"]))
    yield results["about"]
    places = [f"images/s, {place['device']}" for place in speeds]
    yield table(["", "parameters", "MACs", *places, "mAP", "rank-1"], rows)
    yield from _diverged(results["rows"])
    yield (
        f"The smallest within one point of the teacher's rank-1: {min(near)[2]}."
        if near
        else "No student is within one point of the teacher's rank-1."
    )
    printed = "; ".join(f"{name} {size} M, {speed} images/s" for name, (size, speed) in SPEED.items())
    here = "; ".join(f"{place['device']}: {place['hardware']}" for place in speeds)
    yield f"The paper, on a Titan X: {printed}. Here, forward passes in batches of 128: {here}."


def _caption(results: Results) -> str:
    seeds = results["seeds"]
    spread = (
        f"mean ± standard deviation over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else "one seed"
    )
    commit = results["commit"] or "unknown"
    commit = commit[:12] + "+" * commit.endswith("+")
    minutes = results["gpu_seconds"] / 60
    return (
        f"Percent, {spread}. {results['hardware']}; {minutes:.0f} minutes of GPU time for this part. "
        f"understudy {results['understudy']} at {commit}, torch {results['torch']}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, align: str = "--:") -> str:
    """Rows of cells as Markdown, the first column on the left."""
    lines = [list(head), ["---", *[align] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _one(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _gap(row: Results) -> str:
    values = (row.get("gap") or {}).get("map")
    if not values:
        return ""
    mean, deviation = mean_and_deviation([100 * value for value in values])
    return f"{mean:.0f} %" if len(values) == 1 else f"{mean:.0f} ± {deviation:.0f} %"


def _settings(settings: Results) -> str:
    """The learning rate, or the weights, of a candidate."""
    words = [f"lr {settings['optim']['lr']:g}"] if "optim" in settings else []
    return ", ".join([*words, *(f"{one['name']} {one['weight']:g}" for one in settings.get("losses", []))])


def _order(value: str) -> float:
    return float("inf") if value == "whole" else float(value)
