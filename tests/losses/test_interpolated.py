from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from understudy.losses._distances import pairwise_distances
from understudy.losses.hint import Hint
from understudy.losses.interpolated import Interpolated
from understudy.losses.metrics_from_teachers import AbsoluteTeacher, RelativeTeacher
from understudy.losses.mixtures import draw_pairs, drop_antipodal, interpolate
from understudy.losses.similarity_kl import SimilarityKL


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = seeded(7)
    return (
        torch.randn(n, 3, dtype=torch.float64, generator=generator),
        torch.randn(n, 5, dtype=torch.float64, generator=generator),
    )


class Seen(nn.Module):
    """Keeps what the inner loss was given."""

    inputs = ("embedding",)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
        exclude: Tensor | None = None,
    ) -> Tensor:
        self.student, self.teacher, self.queries, self.exclude = student, teacher, queries, exclude
        return student.sum()


def see(student: Tensor, teacher: Tensor, queries: Tensor | None = None, **settings: Any) -> Seen:
    seen = Seen()
    Interpolated(seen, **settings)(student, teacher, queries, generator=seeded())
    return seen


def weights_of(points: Tensor, mixed: Tensor) -> Tensor:
    """The (m, n) weights with which mixtures are made of points that are linearly independent."""
    weights: Tensor = torch.linalg.lstsq(points.T, mixed.T).solution
    return weights.T


@pytest.mark.parametrize("pairs", ["random", "all", "neighbours"])
@pytest.mark.parametrize("coefficient", ["uniform", ("beta", 0.5), ["beta", 3]])
def test_both_sides_are_mixed_from_the_same_pairs_with_the_same_coefficients(
    pairs: str, coefficient: Any
) -> None:
    n = 6
    student, teacher = torch.randn(n, 8, dtype=torch.float64), torch.randn(n, 10, dtype=torch.float64)
    seen = see(student, teacher, pairs=pairs, coefficient=coefficient, mixes=2.0)
    m = 15 if pairs == "all" else 12
    assert seen.student.shape == (n + m, 8)
    assert seen.teacher.shape == (n + m, 10)
    torch.testing.assert_close(seen.student[:n], student)
    torch.testing.assert_close(seen.teacher[:n], teacher)
    weights = weights_of(student, seen.student[n:])
    torch.testing.assert_close(weights, weights_of(teacher, seen.teacher[n:]))
    torch.testing.assert_close(weights.sum(1), torch.ones(m, dtype=torch.float64))
    assert (weights.abs() > 1e-9).sum(1).le(2).all()
    assert weights.min() > -1e-9


def test_squared_distances_of_mixtures_are_a_fixed_linear_map_of_the_original_ones() -> None:
    # The warning in the docstring: without renormalising, squared distances teach nothing new.
    n, m = 6, 9
    student, teacher = batch(n)
    first, second = draw_pairs(teacher, m, "random", seeded())
    c = torch.rand(m, dtype=torch.float64, generator=seeded())
    weights = torch.eye(n, dtype=torch.float64)
    weights = torch.cat([weights, interpolate(weights, first, second, c)])  # rows sum to 1

    def residuals(*sides: Tensor) -> Tensor:
        s, t = (pairwise_distances(x, squared=True) for x in sides)
        return (s - t).flatten()

    # ‖(u−v)X‖² = −½ (u−v) D² (u−v)ᵀ for weights that sum to one: known before any embedding is.
    u = weights.unsqueeze(1) - weights
    linear = -0.5 * torch.einsum("abi,abj->abij", u, u).reshape((n + m) ** 2, n * n)
    for _ in range(3):
        joint = [torch.cat([x, interpolate(x, first, second, c)]) for x in (student, teacher)]
        torch.testing.assert_close(residuals(*joint), linear @ residuals(student, teacher))
        student = student + torch.randn_like(student)
    # With plain distances, or renormalised, the map is no longer linear.
    renormalised = [
        torch.cat([x, interpolate(x, first, second, c, renormalize=True)]) for x in (student, teacher)
    ]
    assert not torch.allclose(residuals(*renormalised), linear @ residuals(student, teacher), atol=1e-3)


def test_renormalising_gives_unit_vectors_back_and_drops_antipodal_pairs_on_both_sides() -> None:
    student = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    first, second = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    c = torch.full((3,), 0.5)
    replaced, dropped = drop_antipodal([student, teacher], first, second, c)
    assert dropped.tolist() == [True, False, False]  # antipodal for the teacher only
    assert replaced.tolist() == [0, 2, 2]
    for x in (student, teacher):
        mixed = interpolate(x, first, replaced, c, renormalize=True)
        torch.testing.assert_close(mixed.norm(dim=1), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(mixed[0], x[0])


def test_antipodal_mixtures_leave_the_gradient_alone() -> None:
    student = torch.tensor([[1.0, 0.0], [-1.0, 1e-9]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    loss = Interpolated(RelativeTeacher(), pairs="all", renormalize=True, exclude_parents=False)
    for seed in range(50):
        (gradient,) = torch.autograd.grad(loss(student, teacher, generator=seeded(seed)), student)
        assert gradient.norm() < 10


def test_renormalising_keeps_the_length_of_embeddings_that_are_not_units() -> None:
    x = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    mixed = interpolate(x, torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25]), renormalize=True)
    assert mixed.norm().item() == pytest.approx(0.75 * 2 + 0.25 * 4)


def test_random_pairs_use_every_row_equally_often_and_never_mix_a_row_with_itself() -> None:
    first, second = draw_pairs(torch.zeros(7, 2), 21, "random", seeded())
    assert first.bincount(minlength=7).tolist() == [3] * 7
    assert (first != second).all()
    assert (second < 7).all()
    seen = {
        pair
        for s in range(60)
        for pair in zip(
            *map(Tensor.tolist, draw_pairs(torch.zeros(3, 1), 3, "random", seeded(s))), strict=True
        )
    }
    assert seen == set(itertools.permutations(range(3), 2))


def test_all_pairs() -> None:
    first, second = draw_pairs(torch.zeros(4, 2), 99, "all")
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == list(
        itertools.combinations(range(4), 2)
    )


def test_neighbours_are_the_teachers_nearest_then_second_nearest() -> None:
    teacher = torch.tensor([[0.0], [1.0], [3.0], [3.0]])
    first, second = draw_pairs(teacher, 8, "neighbours")
    assert first.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert second.tolist() == [1, 0, 3, 2, 2, 2, 1, 1]
    with pytest.raises(ValueError, match="no 16 neighbour pairs in a batch of 4 rows: lower mixes below 4"):
        see(teacher, teacher, pairs="neighbours", mixes=4.0)


@pytest.mark.parametrize("a", [0.001, 0.02, 0.2, 1.0, 4.0])
def test_the_law_of_the_coefficient(a: float) -> None:
    # On two points at 0 and 1 the mixtures are the coefficients, or 1 minus them: Beta(a, a) is symmetric.
    points = torch.tensor([[0.0], [1.0]])
    drawn = see(
        points, points, pairs="random", coefficient=("beta", a), mixes=20000, exclude_parents=False
    ).student[2:]
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * a + 1)), rel=0.03)


def test_uniform_coefficients() -> None:
    points = torch.tensor([[0.0], [1.0]])
    drawn = see(points, points, mixes=20000, exclude_parents=False).student[2:]
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    assert drawn.var().item() == pytest.approx(1 / 12, rel=0.03)


def test_parents_are_excluded_both_ways_and_nobody_else() -> None:
    n = 5
    student, teacher = torch.eye(n), torch.eye(n)
    seen = see(student, teacher, mixes=2.0)
    assert seen.exclude is not None
    expected = torch.zeros(15, 15, dtype=torch.bool)
    for k in range(n, 15):
        for parent in seen.student[k].nonzero().flatten().tolist():
            expected[k, parent] = expected[parent, k] = True
    assert torch.equal(seen.exclude, expected)
    assert expected.sum() == 2 * 10 * 2
    assert see(student, teacher, exclude_parents=False).exclude is None


def test_anchors() -> None:
    student, teacher = batch()
    assert see(student, teacher).queries is None
    original = see(student, teacher, anchors="original").queries
    assert original is not None
    assert original.tolist() == list(range(6))
    some = torch.tensor([4, 1])
    asked = see(student, teacher, some, anchors="original").queries
    assert asked is not None
    assert asked.tolist() == [4, 1]
    asked = see(student, teacher, some, mixes=2.0).queries
    assert asked is not None
    assert asked.tolist() == [4, 1, 10, 7, 16, 13]
    with pytest.raises(ValueError, match="cannot share 9 mixtures out to 6 rows: give mixes as a whole"):
        see(student, teacher, some, mixes=1.5)


@pytest.mark.parametrize("settings", [{"mixes": 2.0}, {"mixes": 1.5, "anchors": "original"}])
def test_the_loss_of_the_batch_is_the_mean_of_its_parts(settings: dict[str, Any]) -> None:
    student, teacher = batch()
    loss = Interpolated(RelativeTeacher(), **settings)
    assert loss.splits_by_query
    parts = [
        loss(student, teacher, torch.tensor(rows), seeded()) * len(rows) / 6
        for rows in ([0, 3], [1, 2, 4, 5])
    ]
    torch.testing.assert_close(sum(parts), loss(student, teacher, generator=seeded()))


@pytest.mark.parametrize(
    "loss",
    [
        Interpolated(RelativeTeacher(), mixes=1.5),
        Interpolated(RelativeTeacher(), pairs="all"),
        Interpolated(RelativeTeacher("frobenius")),
    ],
)
def test_what_does_not_split_says_so(loss: Interpolated) -> None:
    assert not loss.splits_by_query


def test_the_generator_decides_and_the_global_one_is_left_alone() -> None:
    student, teacher = batch()
    loss = Interpolated(SimilarityKL(), coefficient=("beta", 0.3))
    state = torch.get_rng_state()
    values = [loss(student, teacher, generator=seeded(s)).item() for s in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), state)
    assert values[0] == values[1] != values[2]


def test_equals_the_inner_loss_on_the_joint_set() -> None:
    student, teacher = batch()
    seen = see(student, teacher, exclude_parents=False)
    value = Interpolated(RelativeTeacher(), exclude_parents=False)(student, teacher, generator=seeded())
    torch.testing.assert_close(value, RelativeTeacher()(seen.student, seen.teacher))
    total, pairs = 0.0, 0
    for i, j in itertools.permutations(range(12), 2):
        distances = [math.dist(x[i], x[j]) for x in (seen.student, seen.teacher)]
        total += abs(distances[0] - distances[1])
        pairs += 1
    assert value.item() == pytest.approx(total / pairs)


class CannotExclude(nn.Module):
    inputs = ("embedding",)

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        return (student.sum() - teacher.sum()).abs()


def test_an_inner_loss_that_cannot_exclude() -> None:
    with pytest.raises(ValueError, match="cannot exclude parents from CannotExclude: set exclude_parents to"):
        Interpolated(CannotExclude())
    Interpolated(CannotExclude(), exclude_parents=False)(*batch())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": Hint(3, 3)}, "an inner loss on embeddings alone, got Hint"),
        ({"mixes": 0}, "a mixes above 0, got 0"),
        ({"pairs": "some"}, "pairs to be one of random, all, neighbours, got 'some'"),
        ({"anchors": "none"}, "anchors to be one of all, original, got 'none'"),
        (
            {"coefficient": "normal"},
            r"a coefficient of 'uniform' or \('beta', a\) with a above 0, got 'normal'",
        ),
        ({"coefficient": ("beta", 0)}, r".* got \('beta', 0\)"),
        ({"coefficient": ("beta",)}, r".* got \('beta',\)"),
    ],
)
def test_bad_settings_are_refused_at_construction(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="interpolated needs " + message):
        Interpolated(**{"loss": AbsoluteTeacher(), **settings})
