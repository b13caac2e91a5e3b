from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from understudy.losses import plackett_luce
from understudy.losses.plackett_luce import plackett_luce_log_likelihood


def probability(scores: list[float], ranking: tuple[int, ...]) -> float:
    """Equation (1) of DarkRank, term by term."""
    p = 1.0
    for k in range(len(ranking)):
        p *= math.exp(scores[ranking[k]]) / sum(math.exp(scores[m]) for m in ranking[k:])
    return p


@pytest.fixture(params=["linear", "log"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of scanning, whatever the scores would choose."""
    monkeypatch.setattr(plackett_luce, "_spans_little", lambda _: request.param == "linear")


@pytest.mark.usefixtures("scan")
def test_probabilities_of_all_rankings_equal_the_product_and_sum_to_one() -> None:
    scores = torch.tensor([[0.3, -1.2, 2.0, 0.5]], dtype=torch.float64)
    rankings = list(itertools.permutations(range(4)))
    found = plackett_luce_log_likelihood(scores.expand(24, 4), torch.tensor(rankings)).exp()
    expected = torch.tensor([probability(scores[0].tolist(), r) for r in rankings], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    assert found.sum().item() == pytest.approx(1.0)


@pytest.mark.usefixtures("scan")
@pytest.mark.parametrize("top", [None, 1, 3, 6, 9])
def test_equals_loop_of_logsumexp_with_its_gradient(top: int | None) -> None:
    torch.manual_seed(0)
    scores = (torch.randn(5, 6, dtype=torch.float64) * 4).requires_grad_()
    expected = sum(scores[:, k] - scores[:, k:].logsumexp(1) for k in range(min(top or 6, 6)))
    assert isinstance(expected, Tensor)
    found = plackett_luce_log_likelihood(scores, top=top)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), scores), torch.autograd.grad(expected.sum(), scores)
    )


@pytest.mark.usefixtures("scan")
def test_gradient_is_equation_six() -> None:
    torch.manual_seed(0)
    s = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(plackett_luce_log_likelihood(s).exp().sum(), s)
    e = s[0].detach().exp().tolist()
    p = probability(s[0].tolist(), (0, 1, 2, 3, 4))
    equation = [p * (1 - sum(e[i] / sum(e[j:]) for j in range(i + 1))) for i in range(5)]
    assert gradient[0].tolist() == pytest.approx(equation, abs=1e-14)


def test_ranking_places_the_gradient_at_the_items() -> None:
    scores = torch.tensor([[0.0, 1.0, 5.0]], dtype=torch.float64, requires_grad=True)
    ranking = torch.tensor([[2, 0, 1]])
    (gradient,) = torch.autograd.grad(plackett_luce_log_likelihood(scores, ranking).sum(), scores)
    first = 1 - math.exp(5) / (math.exp(5) + 1 + math.e)
    assert gradient[0, 2].item() == pytest.approx(first)
    assert gradient.sum().item() == pytest.approx(0.0, abs=1e-14)


@pytest.mark.usefixtures("scan")
def test_gradcheck() -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    for top in (None, 2):
        assert torch.autograd.gradcheck(
            lambda s, top=top: plackett_luce_log_likelihood(s, top=top), (scores,)
        )


@pytest.mark.parametrize("spread", [3.0, 400.0, 1300.0, 1e5])
def test_float32_is_stable_over_any_range_of_scores(spread: float) -> None:
    torch.manual_seed(0)
    scores = -torch.rand(20, 300) * spread
    scores[0] = scores[0].sort().values  # the worst order
    scores[1] = scores[1].sort(descending=True).values
    single, double = scores.requires_grad_(), scores.detach().double().requires_grad_()
    expected = sum(double[:, k] - double[:, k:].logsumexp(1) for k in range(300))
    assert isinstance(expected, Tensor)
    found = plackett_luce_log_likelihood(single)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)
    (g,) = torch.autograd.grad(found.sum(), single)
    (h,) = torch.autograd.grad(expected.sum(), double)
    torch.testing.assert_close(g.double(), h, rtol=1e-5, atol=1e-6)


def test_half_precision_is_computed_in_float32() -> None:
    scores = torch.tensor([[1.0, 0.5, -3.0]], dtype=torch.bfloat16)
    assert torch.equal(plackett_luce_log_likelihood(scores), plackett_luce_log_likelihood(scores.float()))
