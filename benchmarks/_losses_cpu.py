"""The losses on a CPU, against the plain forms."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from _losses_memory import embeddings, exact, gradient, in_fresh_process, scores
from _losses_naive import (
    all_rankings,
    angle_by_vectors,
    distances_sort_exp,
    hard_by_cumulation,
    hard_by_loop,
    soft_by_enumeration,
)
from _losses_table import Line, measure
from torch import Tensor

from understudy.losses import hard_darkrank, rkd_angle, soft_darkrank
from understudy.losses._ranked_lists import ranked_lists
from understudy.losses.darkrank_score import darkrank_score

Call = Callable[[], object]
ALPHA = BETA = 3.0
# How many queries the enumeration takes at once: it is fastest where a block's tables stay in the caches.
ENUMERATED_AT_ONCE = 8


def run(save: Callable[[list[Line]], None], *, quick: bool = False) -> list[Line]:
    """All lines of the CPU's table; ``quick`` takes small sizes, to see that they run."""
    lines: list[Line] = []
    for part in (_soft, _soft_memory, _hard, _precision, _angle):
        lines += part(quick)
        save(lines)
    return lines


def _soft(quick: bool) -> list[Line]:
    items, queries, dim = (5, 16, 8) if quick else (8, 128, 512)
    rankings = all_rankings(items)
    plain, sums = _enumerated(rankings, safe=True), _enumerated(rankings, safe=False)
    ours, naive, stripped = (
        partial(gradient, loss, *scores(queries, items)) for loss in (exact, plain, sums)
    )
    _agree(ours(), naive())
    _agree(ours(), stripped(), atol=1e-3)
    forms = {"ours": ours, "enumeration": naive, "plain sums": stripped}
    name = f"soft_darkrank, exact, list {items}, {queries} queries"
    lines = []
    given = torch.get_num_threads()
    for threads in dict.fromkeys((given, 1)):  # on one thread nothing waits for a busy second core
        torch.set_num_threads(threads)
        times = _rounds(forms, rounds=2 if quick else 5, calls={"ours": 50})
        torch.set_num_threads(given)
        where = f"{name}, from scores, threads: {threads}"
        shown = Line(f"{where}: enumeration of {len(rankings):,} rankings over ours", "≥ 1,000 ×", 1000)
        shown.at_least = True
        lines.append(measure(shown, partial(_ratio, times, "enumeration", "ours")))
        shown = Line(f"{where}: enumeration by plain sums, unsafe for scores far apart, over ours")
        lines.append(measure(shown, partial(_ratio, times, "plain sums", "ours")))
    shown = Line(
        f"{name}, from embeddings of {dim} dimensions, distances and sorting included: enumeration over ours"
    )
    listed = partial(soft_darkrank, list_length=items, method="exact")
    whole, naive_whole = (
        partial(gradient, loss, *embeddings(queries, dim)) for loss in (listed, _enumerated_lists(rankings))
    )
    _agree(whole(), naive_whole())
    return [*lines, measure(shown, lambda: _compare(whole, naive_whole, rounds=5, calls=30))]


def _enumerated(rankings: Tensor, *, safe: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        blocks = zip(*(torch.split(side, ENUMERATED_AT_ONCE) for side in (teacher, student)), strict=True)
        return torch.cat([soft_by_enumeration(a, b, rankings, safe=safe) for a, b in blocks])

    return loss


def _enumerated_lists(rankings: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    enumerated = _enumerated(rankings, safe=True)

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        ranked = _lists(student, teacher, rankings.shape[1])
        return enumerated(*(darkrank_score(side, ALPHA, BETA, None) for side in ranked)).mean()

    return loss


def _lists(student: Tensor, teacher: Tensor, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Squared distances of student and teacher in the teacher's order, as the package finds them."""
    lists = ranked_lists("benchmark", student, teacher, None, None, keep=length, detach_query=False)
    return lists.student, lists.teacher


def _soft_memory(quick: bool) -> list[Line]:
    if quick:
        return []
    lines = []
    for items, queries, limit in ((16, 64, 1000), (20, 8, None)):
        line = Line(f"soft_darkrank, exact, list {items}, {queries} queries: extra memory, and time")
        line.target, line.limit = ("< 1 GB" if limit else ""), limit
        lines.append(measure(line, partial(_time_and_memory, queries, items)))
    return lines


def _time_and_memory(queries: int, items: int) -> dict[str, float]:
    times = _rounds({"ours": partial(gradient, exact, *scores(queries, items))}, rounds=5, calls={})
    megabytes = in_fresh_process(f"soft {items}")["MB"]
    return {"MB": megabytes, "ms": 1e3 * statistics.median(times["ours"])}


def _hard(quick: bool) -> list[Line]:
    n, d = (64, 32) if quick else (1024, 512)
    pair = embeddings(n, d)
    forms: dict[str, Call] = {
        "ours": partial(gradient, hard_darkrank, *pair),
        "loop": partial(gradient, _hard_by(hard_by_loop), *pair),
        "log-cumsum-exp": partial(gradient, _hard_by(hard_by_cumulation), *pair),
        "distances + sort + exp": partial(gradient, distances_sort_exp, *pair),
    }
    _agree(forms["ours"](), forms["loop"]())
    times = _rounds(
        forms, rounds=2 if quick else 7, calls={"ours": 5, "log-cumsum-exp": 2, "distances + sort + exp": 5}
    )
    name = f"hard_darkrank, full lists, batch {n:,} × {d}"
    lines = [
        Line(f"{name}: loop of logsumexp over ours", "≥ 15 ×", 15, at_least=True),
        Line(f"{name}: reversed log-cumsum-exp over ours"),
        Line(f"{name}: ours over distances + sort + exp alone", "≤ 3 ×", 3),
    ]
    pairs = (("loop", "ours"), ("log-cumsum-exp", "ours"), ("ours", "distances + sort + exp"))
    for line, (above, below) in zip(lines, pairs, strict=True):
        measure(line, partial(_ratio, times, above, below))
    if quick:
        return lines

    def tables() -> dict[str, float]:
        found = in_fresh_process("hard")
        return {"MB": found["MB"], "float32 tables of n × n": found["MB"] * 1e6 / (4 * n * n)}

    return [*lines, measure(Line(f"{name}: extra memory"), tables)]


def _hard_by(likelihood: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The whole loss with another form of the likelihood: distances, sorting and scores as the package's."""

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return likelihood(darkrank_score(_lists(student, teacher)[0], ALPHA, BETA, None)).mean()

    return loss


def _precision(quick: bool) -> list[Line]:
    n, d = (64, 32) if quick else (1024, 512)

    def work() -> dict[str, float]:
        loss = partial(hard_darkrank, alpha=100.0, beta=2.0)
        single, double = embeddings(n, d), embeddings(n, d, torch.float64)
        slope, exact_slope = gradient(loss, *single).double(), gradient(loss, *double)
        value, exact_value = (float(loss(*pair).detach()) for pair in (single, double))
        return {
            "relative error of the gradient": float((slope - exact_slope).norm() / exact_slope.norm()),
            "relative error of the value": abs(value - exact_value) / exact_value,
        }

    what = f"hard_darkrank, full lists, batch {n:,} × {d}, α = 100, β = 2: float32 against float64"
    return [measure(Line(what, target="≤ 1e-4", limit=1e-4), work)]


def _angle(quick: bool) -> list[Line]:
    n, d = (24, 16) if quick else (128, 512)
    pair = embeddings(n, d)
    ours, plain = (partial(gradient, loss, *pair) for loss in (rkd_angle, angle_by_vectors))
    shown = Line(f"rkd_angle, batch {n} × {d}: plain form over ours", target="≥ 1 ×", limit=1, at_least=True)
    lines = [measure(shown, lambda: _compare(ours, plain, rounds=9, calls=3))]
    if quick:
        return lines
    n = 1024
    plain_gb = (n * n * d + n**3) * 4 / 1e9
    large = Line(f"rkd_angle, batch {n:,} × {d}: extra memory", target="≤ 2 GB", limit=2000)
    large.note = (
        f"n²·d + n³ numbers of the plain form: {plain_gb:.0f} GB, several times over with their gradients"
    )
    return [*lines, measure(large, lambda: in_fresh_process("angle"))]


def _compare(ours: Call, naive: Call, *, rounds: int, calls: int) -> dict[str, float]:
    times = _rounds({"ours": ours, "plain form": naive}, rounds=rounds, calls={"ours": calls})
    return _ratio(times, "plain form", "ours")


def _ratio(times: dict[str, list[float]], above: str, below: str) -> dict[str, float]:
    """How many times as long the one takes as the other, round by round, and both in milliseconds."""
    return {
        "×": statistics.median(a / b for a, b in zip(times[above], times[below], strict=True)),
        **{f"ms {form}": 1e3 * statistics.median(times[form]) for form in (above, below)},
    }


def _rounds(forms: Mapping[str, Call], *, rounds: int, calls: dict[str, int]) -> dict[str, list[float]]:
    """Seconds a call, in interleaved rounds after a warm-up."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for work in forms.values():
        work()
    for _ in range(rounds):
        for name, work in forms.items():
            number = calls.get(name, 1)
            start = time.perf_counter()
            for _ in range(number):
                work()
            times[name].append((time.perf_counter() - start) / number)
    return times


def _agree(ours: object, naive: object, atol: float = 1e-5) -> None:
    """Both forms compute the same, or there would be nothing to compare."""
    torch.testing.assert_close(ours, naive, rtol=1e-3, atol=atol)
