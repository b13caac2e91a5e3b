from __future__ import annotations

import pytest
import torch

from understudy.losses.darkrank_score import darkrank_from_authors, darkrank_score


def test_score_is_equation_four() -> None:
    distances = torch.tensor([[0.0, 0.5, 2.0]], dtype=torch.float64)
    for alpha, beta in ((3.0, 3.0), (12.25, 4.0), (1.0, 1.0)):
        torch.testing.assert_close(darkrank_score(distances**2, alpha, beta), -alpha * distances**beta)


@pytest.mark.parametrize(("power", "norm"), [(2.0, 3.5), (1.5, 3 ** (2 / 3)), (1.0, 2.0)])
def test_settings_of_the_authors_code(power: float, norm: float) -> None:
    """The code scales unit vectors to √s and scores −(d²)^p of those."""
    torch.manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64), dim=1)
    scaled = x * norm**0.5
    theirs = -((scaled[:, None] - scaled).square().sum(2) ** power)
    alpha, beta = darkrank_from_authors(score_power=power, embedding_l2_norm=norm)
    torch.testing.assert_close(darkrank_score((x[:, None] - x).square().sum(2), alpha, beta), theirs)


def test_the_papers_settings() -> None:
    assert darkrank_from_authors(1.5, 3 ** (2 / 3)) == pytest.approx((3.0, 3.0))


def test_absent_candidates_stand_last_and_weigh_nothing() -> None:
    present = torch.tensor([[True, True, False], [False, False, False]])
    scores = darkrank_score(torch.tensor([[1.0, 4.0, 0.0], [0.0, 0.0, 0.0]]), 1.0, 2.0, present)
    assert scores.tolist() == [[-1.0, -4.0, -104.0], [-100.0, -100.0, -100.0]]
