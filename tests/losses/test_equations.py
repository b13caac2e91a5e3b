"""Each relational equation against loops over rows, pairs and triples in float64, written from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from understudy.losses.contextual_similarity import contextual_similarity
from understudy.losses.correlation_congruence import correlation_congruence
from understudy.losses.metrics_from_teachers import absolute_teacher, relative_teacher
from understudy.losses.pkt import pkt
from understudy.losses.relaxed_contrastive import relaxed_contrastive
from understudy.losses.rkd import rkd_angle, rkd_distance
from understudy.losses.similarity_kl import similarity_kl
from understudy.losses.similarity_preserving import similarity_preserving

Vector = list[float]


@dataclass(frozen=True)
class Case:
    """A batch as lists of numbers, who asks, and who may answer."""

    s: list[Vector]
    t: list[Vector]
    queries: list[int] | None = None
    exclude: list[list[bool]] | None = None

    @property
    def asking(self) -> list[int]:
        return list(range(len(self.s))) if self.queries is None else self.queries

    def answers(self, i: int) -> list[int]:
        excluded = self.exclude[i] if self.exclude is not None else [False] * len(self.s)
        return [j for j in range(len(self.s)) if j != i and not excluded[j]]


def case(variant: str, *, equal_dims: bool = False) -> Case:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    s, t = draw(7, 3).tolist(), draw(7, 3 if equal_dims else 5).tolist()
    if variant == "everyone":
        return Case(s, t)
    if variant == "queries":
        return Case(s, t, queries=[4, 0, 3])
    exclude = draw(7, 7) > 0.7
    exclude[4] = True  # a query without any candidate
    return Case(s, t, queries=[4, 0, 3], exclude=exclude.tolist())


def dot(x: Vector, y: Vector) -> float:
    return math.fsum(a * b for a, b in zip(x, y, strict=True))


def minus(x: Vector, y: Vector) -> Vector:
    return [a - b for a, b in zip(x, y, strict=True)]


def distance(x: Vector, y: Vector) -> float:
    return math.sqrt(dot(minus(x, y), minus(x, y)))


def cosine(x: Vector, y: Vector) -> float:
    return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def huber(x: float, delta: float = 1.0) -> float:
    return 0.5 * x * x if abs(x) <= delta else delta * (abs(x) - delta / 2)


def kl(p: Vector, q: Vector) -> float:
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def softmax(x: Vector) -> Vector:
    total = math.fsum(math.exp(a) for a in x)
    return [math.exp(a) / total for a in x]


def absolute_loop(c: Case) -> float:
    return mean([distance(c.s[i], c.t[i]) for i in c.asking])


def relative_loop(c: Case) -> float:
    return mean(
        [
            mean([abs(distance(c.s[i], c.s[j]) - distance(c.t[i], c.t[j])) for j in c.answers(i)])
            for i in c.asking
        ]
    )


def frobenius_loop(c: Case) -> float:
    return math.sqrt(
        sum(
            (distance(c.s[i], c.s[j]) - distance(c.t[i], c.t[j])) ** 2 for i in c.asking for j in c.answers(i)
        )
    )


def similarity_kl_loop(
    c: Case, temperature: float, teacher_temperature: float, factor: float, *, include_self: bool
) -> float:
    divergences = []
    for i in c.asking:
        row = c.answers(i) + ([i] if include_self else [])
        p = softmax([cosine(c.t[i], c.t[j]) / teacher_temperature for j in row])
        q = softmax([cosine(c.s[i], c.s[j]) / temperature for j in row])
        divergences.append(kl(p, q))
    return factor * mean(divergences)


def pkt_loop(c: Case) -> float:
    def probabilities(x: list[Vector], i: int) -> Vector:
        kernel = [(1 + cosine(x[i], x[j])) / 2 for j in c.answers(i)]
        return [k / math.fsum(kernel) for k in kernel]

    return mean([kl(probabilities(c.t, i), probabilities(c.s, i)) for i in c.asking])


def similarity_preserving_loop(c: Case) -> float:
    total = 0.0
    for i in c.asking:
        rows = []
        for x in (c.s, c.t):
            gram = [dot(x[i], x[j]) if j == i or j in c.answers(i) else 0.0 for j in range(len(x))]
            rows.append([g / math.sqrt(dot(gram, gram)) for g in gram])
        total += distance(*rows) ** 2
    return total / (len(c.asking) * len(c.s))


def congruence_loop(c: Case, gamma: float, order: int | None) -> float:
    def kernel(x: Vector, y: Vector) -> float:
        if order is None:
            x, y = ([a / math.sqrt(dot(v, v)) for a in v] for v in (x, y))
            return math.exp(-gamma * distance(x, y) ** 2)
        series = ((2 * gamma * cosine(x, y)) ** p / math.factorial(p) for p in range(order + 1))
        return math.exp(-2 * gamma) * math.fsum(series)

    total = sum(
        (kernel(c.t[i], c.t[j]) - kernel(c.s[i], c.s[j])) ** 2 for i in c.asking for j in c.answers(i)
    )
    return total / (len(c.asking) * len(c.s))


def relaxed_loop(c: Case, sigma: float, delta: float) -> float:
    total = 0.0
    for i in c.asking:
        row_mean = mean([distance(c.s[i], c.s[k]) for k in [i, *c.answers(i)]])
        for j in c.answers(i):
            w = math.exp(-(distance(c.t[i], c.t[j]) ** 2) / sigma)
            relative = distance(c.s[i], c.s[j]) / row_mean
            total += w * relative**2 + (1 - w) * max(0.0, delta - relative) ** 2
    return total / len(c.asking)


def rkd_distance_loop(c: Case, delta: float) -> float:
    def psi(x: list[Vector]) -> Callable[[int, int], float]:
        mu = mean([distance(x[i], x[j]) for i in range(len(x)) for j in c.answers(i)])
        return lambda i, j: distance(x[i], x[j]) / mu

    of_s, of_t = psi(c.s), psi(c.t)
    return mean([mean([huber(of_s(i, j) - of_t(i, j), delta) for j in c.answers(i)]) for i in c.asking])


def rkd_angle_loop(c: Case, delta: float) -> float:
    def angle(x: list[Vector], i: int, j: int, k: int) -> float:
        return cosine(minus(x[i], x[j]), minus(x[k], x[j]))

    return mean(
        [
            mean(
                [
                    huber(angle(c.s, i, j, k) - angle(c.t, i, j, k), delta)
                    for i in c.answers(j)
                    for k in c.answers(j)
                    if i != k
                ]
            )
            for j in c.asking
        ]
    )


def contextual_loop(c: Case, gallery: list[Vector], neighbours: int, tau: float, tau_t: float) -> float:
    divergences = []
    for i in c.asking:
        ranked = sorted(gallery, key=lambda g: -cosine(c.t[i], g))[:neighbours]
        p = softmax([cosine(c.t[i], g) / tau_t for g in ranked])
        q = softmax([cosine(c.s[i], g) / tau for g in ranked])
        divergences.append(kl(p, q))
    return mean(divergences)


def arguments(c: Case) -> dict[str, Tensor | None]:
    return {
        "queries": None if c.queries is None else torch.tensor(c.queries),
        "exclude": None if c.exclude is None else torch.tensor(c.exclude),
    }


def tensors(c: Case) -> tuple[Tensor, Tensor]:
    return torch.tensor(c.s, dtype=torch.float64), torch.tensor(c.t, dtype=torch.float64)


EQUATIONS: dict[str, tuple[Callable[..., Tensor], dict[str, object], Callable[[Case], float]]] = {
    "relative": (relative_teacher, {}, relative_loop),
    "relative frobenius": (relative_teacher, {"reduction": "frobenius"}, frobenius_loop),
    "similarity_kl": (
        similarity_kl,
        {},
        lambda c: similarity_kl_loop(c, 0.1, 0.1, 0.01, include_self=False),
    ),
    "similarity_kl of s2sd": (
        similarity_kl,
        {"temperature": 1.0, "include_self": True},
        lambda c: similarity_kl_loop(c, 1.0, 1.0, 1.0, include_self=True),
    ),
    "similarity_kl of two temperatures": (
        similarity_kl,
        {"temperature": 0.5, "teacher_temperature": 0.2, "scale_by_t2": False},
        lambda c: similarity_kl_loop(c, 0.5, 0.2, 1.0, include_self=False),
    ),
    "pkt": (pkt, {}, pkt_loop),
    "similarity_preserving": (similarity_preserving, {}, similarity_preserving_loop),
    "correlation_congruence": (correlation_congruence, {}, lambda c: congruence_loop(c, 0.4, 2)),
    "correlation_congruence, order 5": (
        correlation_congruence,
        {"gamma": 0.9, "order": 5},
        lambda c: congruence_loop(c, 0.9, 5),
    ),
    "correlation_congruence, gaussian": (
        correlation_congruence,
        {"gamma": 0.9, "order": None},
        lambda c: congruence_loop(c, 0.9, None),
    ),
    "relaxed_contrastive": (relaxed_contrastive, {}, lambda c: relaxed_loop(c, 1.0, 1.0)),
    "relaxed_contrastive, other settings": (
        relaxed_contrastive,
        {"sigma": 4.0, "delta": 1.5},
        lambda c: relaxed_loop(c, 4.0, 1.5),
    ),
    "rkd_distance": (rkd_distance, {}, lambda c: rkd_distance_loop(c, 1.0)),
    "rkd_distance, early corner": (rkd_distance, {"delta": 0.1}, lambda c: rkd_distance_loop(c, 0.1)),
    "rkd_angle": (rkd_angle, {}, lambda c: rkd_angle_loop(c, 1.0)),
    "rkd_angle, early corner": (rkd_angle, {"delta": 0.2}, lambda c: rkd_angle_loop(c, 0.2)),
}


@pytest.mark.parametrize("variant", ["everyone", "queries", "exclude"])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_equals_loops(equation: str, variant: str) -> None:
    function, settings, loop = EQUATIONS[equation]
    c = case(variant)
    value = function(*tensors(c), **settings, **arguments(c))
    assert value.item() == pytest.approx(loop(c), rel=1e-10)
    assert value.item() > 1e-4


@pytest.mark.parametrize("variant", ["everyone", "queries"])
def test_absolute_teacher_equals_a_loop(variant: str) -> None:
    c = case(variant, equal_dims=True)
    value = absolute_teacher(*tensors(c), queries=arguments(c)["queries"])
    assert value.item() == pytest.approx(absolute_loop(c), rel=1e-12)


@pytest.mark.parametrize("variant", ["everyone", "queries"])
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("neighbours", [3, 256])
def test_contextual_similarity_equals_a_loop(variant: str, table: bool, neighbours: int) -> None:
    c = case(variant, equal_dims=True)
    student, teacher = tensors(c)
    gallery = torch.randn(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = contextual_similarity(
        student,
        teacher,
        gallery=gallery if table else None,
        neighbours=neighbours,
        temperature=0.7,
        teacher_temperature=0.2,
        queries=arguments(c)["queries"],
    )
    expected = contextual_loop(c, gallery.tolist() if table else c.t, neighbours, 0.7, 0.2)
    assert value.item() == pytest.approx(expected, rel=1e-10)
