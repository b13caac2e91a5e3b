from __future__ import annotations

import inspect
import math

import pytest
import torch
from torch import Tensor

from understudy.losses import darkrank_alpha
from understudy.losses._distances import pairwise_distances
from understudy.losses.darkrank_alpha import TARGET_ENTROPY, alpha_from_teacher
from understudy.losses.darkrank_hard import HardDarkRank, hard_darkrank
from understudy.losses.darkrank_soft import SoftDarkRank, soft_darkrank


def lists(n: int, *, spread: float = 1.0, seed: int = 0) -> Tensor:
    """(n, n − 1) sorted squared distances of classes of four around random centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n // 4, 8, generator=generator, dtype=torch.float64).repeat_interleave(4, 0)
    noise = torch.randn(n, 8, generator=generator, dtype=torch.float64)
    return pairwise_distances(centres + spread * noise, squared=True).sort(1).values[:, 1:]


def mean_entropy(rows: list[list[float]], alpha: float, beta: float) -> float:
    """The definition, one candidate at a time."""
    total = 0.0
    for row in rows:
        odds = [math.exp(-alpha * (d ** (beta / 2) - row[0] ** (beta / 2))) for d in row]
        total -= sum(o / sum(odds) * math.log(o / sum(odds)) for o in odds if o > 0)
    return total / len(rows)


def by_search(rows: list[list[float]], beta: float, target: float) -> float:
    """The α at which the mean entropy is the target, by 200 halvings."""
    low, high = 1e-9, 1e9
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if mean_entropy(rows, middle, beta) > target else (low, middle)
    return low


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("beta", "spread"), [(1.0, 1.0), (3.0, 1.0), (4.0, 0.2), (2.0, 1e-2)])
def test_equals_a_search_by_loops(beta: float, spread: float, share: float) -> None:
    distances = lists(12, spread=spread)
    rows = distances.tolist()
    expected = by_search(rows, beta, share * math.log(11))
    assert alpha_from_teacher(distances, beta, share).item() == pytest.approx(expected, rel=1e-6)


def test_hand_computed() -> None:
    """Two candidates, d = 1 and 2: p of the nearer is 1/(1 + e^(−α(2^β − 1))), and H(0.8) = 0.7219 bits."""
    distances = torch.tensor([[1.0, 4.0]], dtype=torch.float64)
    share = -(0.8 * math.log2(0.8) + 0.2 * math.log2(0.2))
    for beta in (1.0, 3.0):
        found = alpha_from_teacher(distances, beta, share).item()
        assert found == pytest.approx(math.log(4) / (2**beta - 1), rel=1e-9)


def test_one_alpha_for_the_batch_leaves_a_hard_query_less_sure() -> None:
    easy, hard = [0.0, 4.0, 9.0], [1.0, 1.1, 1.2]
    alpha = alpha_from_teacher(torch.tensor([easy, hard], dtype=torch.float64), 2.0, 0.6).item()
    assert mean_entropy([easy, hard], alpha, 2.0) == pytest.approx(0.6 * math.log(3))
    assert mean_entropy([easy], alpha, 2.0) < 0.3 * math.log(3) < 0.9 * math.log(3)
    assert mean_entropy([hard], alpha, 2.0) > 0.9 * math.log(3)


@pytest.mark.parametrize("beta", [1.0, 3.0])
def test_the_unit_of_length_does_not_matter(beta: float) -> None:
    distances = lists(16)
    alpha = alpha_from_teacher(distances, beta)
    for length in (1e-4, 1e4):
        found = alpha_from_teacher(distances * length**2, beta)
        torch.testing.assert_close(found, alpha / length**beta)


def test_a_blinder_target_is_a_smaller_alpha() -> None:
    found = [alpha_from_teacher(lists(16), 3.0, share).item() for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 5


def test_absent_candidates_are_as_if_they_were_not_there() -> None:
    """Rows of three, two, one and no candidates: the last two have entropy 0 whatever α is."""
    inf = math.inf
    distances = torch.tensor([[1.0, 2.0, 5.0], [1.0, 3.0, inf], [2.0, inf, inf], [inf, inf, inf]])
    rows = [[1.0, 2.0, 5.0], [1.0, 3.0], [2.0]]
    expected = by_search(rows, 3.0, 0.4 * (math.log(3) + math.log(2)) / 3)
    assert alpha_from_teacher(distances, 3.0, 0.4).item() == pytest.approx(expected, rel=1e-6)


def test_candidates_tied_for_the_first_place_stay_undecided() -> None:
    """Three duplicates of the query in a list of four: the choice cannot be surer than log 3."""
    distances = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    target = math.log(3) + 0.5 * math.log(4 / 3)
    expected = by_search(distances.tolist(), 3.0, target)
    assert alpha_from_teacher(distances, 3.0, 0.5).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("distance", [0.0, 1e-12, 2.0, 1e12])
def test_a_teacher_that_says_nothing_gets_the_least_alpha(distance: float) -> None:
    tied = torch.full((3, 5), distance)
    unit = distance**1.5 or 1.0
    assert alpha_from_teacher(tied, 3.0).item() == pytest.approx(0.01 / unit, rel=0.08)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_float32_equals_float64(share: float) -> None:
    for spread in (1.0, 0.05):
        distances = lists(64, spread=spread)
        single, double = (alpha_from_teacher(x, 4.0, share) for x in (distances.float(), distances))
        torch.testing.assert_close(single, double, rtol=1e-5, atol=0)


def test_absent_candidates_leave_the_sharpest_choice_finite_without_float64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    distances = torch.tensor([[1e-3, 1.2e-3, 4.0, math.inf]], dtype=torch.float64)
    exact = alpha_from_teacher(distances, 3.0, 0.5)
    monkeypatch.setattr(darkrank_alpha, "widest", lambda x: x.float())  # as on a device without it
    single = alpha_from_teacher(distances, 3.0, 0.5)
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=0)


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 3, dtype=torch.float64).requires_grad_(), torch.randn(n, 5, dtype=torch.float64)


def sorted_rows(x: Tensor, length: int | None, exclude: Tensor | None = None) -> list[list[float]]:
    rows = []
    for i, point in enumerate(x):
        others = [j for j in range(len(x)) if j != i and not (exclude is not None and exclude[i, j])]
        rows.append(sorted((point - x[others]).square().sum(1).tolist())[:length])
    return rows


@pytest.mark.parametrize("excluding", [False, True])
@pytest.mark.parametrize(
    ("list_length", "tail", "queries"),
    [(None, False, None), (4, False, None), (4, True, None), (4, False, [6, 1]), (None, False, [0])],
)
def test_auto_is_the_loss_at_the_alpha_of_the_whole_batch(
    list_length: int | None, tail: bool, queries: list[int] | None, excluding: bool
) -> None:
    """With a tail the first choice is among all candidates; rows that do not ask count, too."""
    student, teacher = batch()
    exclude = torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) < 0.3 if excluding else None
    rows = sorted_rows(teacher, None if tail else list_length, exclude)
    target = 0.6 * sum(math.log(len(row)) for row in rows) / len(rows)
    asking = None if queries is None else torch.tensor(queries)
    alpha = by_search(rows, 2.0, target)
    for loss in (hard_darkrank, soft_darkrank):
        found, expected = (
            loss(
                student,
                teacher,
                alpha=sharpness,
                beta=2.0,
                target_entropy=0.6,
                list_length=list_length,
                tail=tail,
                queries=asking,
                exclude=exclude,
            )
            for sharpness in ("auto", alpha)
        )
        expected = expected * 9 / (2.0 * alpha)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
        gradients = [torch.autograd.grad(total, student)[0] for total in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("module", [HardDarkRank, SoftDarkRank])
def test_modules_keep_the_target_and_say_so(module: type[HardDarkRank | SoftDarkRank]) -> None:
    student, teacher = batch()
    loss = module(alpha="auto", target_entropy=0.8)
    function = hard_darkrank if module is HardDarkRank else soft_darkrank
    assert torch.equal(
        loss(student, teacher),
        function(student, teacher, alpha="auto", target_entropy=0.8),
    )
    assert "alpha='auto'" in repr(loss)
    assert "target_entropy=0.8" in repr(loss)
    assert inspect.signature(module).parameters["target_entropy"].default == TARGET_ENTROPY
    assert not torch.equal(loss(student, teacher), module(alpha="auto", target_entropy=0.2)(student, teacher))


@pytest.mark.parametrize("module", [HardDarkRank, SoftDarkRank])
def test_mistakes(module: type[HardDarkRank | SoftDarkRank]) -> None:
    with pytest.raises(ValueError, match=r"_darkrank needs an alpha above 0, or 'auto', got 'automatic'"):
        module(alpha="automatic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"_darkrank needs an alpha above 0, or 'auto', got -3"):
        module(alpha=-3)
    for share in (0.0, 1.0, 12.0, math.nan):
        with pytest.raises(ValueError, match=r"_darkrank needs a target_entropy between 0 and 1"):
            module(alpha="auto", target_entropy=share)


@pytest.mark.slow
def test_it_compiles_without_breaks() -> None:
    torch.compiler.reset()
    student, teacher = (x.float() for x in batch())
    compiled = torch.compile(hard_darkrank, backend="aot_eager", fullgraph=True)
    expected = hard_darkrank(student, teacher, alpha="auto")
    torch.testing.assert_close(compiled(student, teacher, alpha="auto"), expected)
