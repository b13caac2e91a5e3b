"""The loss on tuples against its formula, written as a loop, and against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.losses.supervised import TupleContrastive, tuple_contrastive


def batch(tuples: int, size: int, scale: float = 0.4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (scale * torch.randn(tuples * size, 4, dtype=torch.float64, generator=generator)).requires_grad_()


@pytest.mark.parametrize(("tuples", "negatives", "margin"), [(4, 5, 0.85), (3, 1, 0.5), (1, 2, 2.0)])
def test_the_formula(tuples: int, negatives: int, margin: float) -> None:
    size = 2 + negatives
    x, labels = batch(tuples, size), torch.zeros(tuples * size, dtype=torch.int64)
    expected = torch.zeros((), dtype=torch.float64)
    met = 0
    for start in range(0, tuples * size, size):
        query = x[start]
        expected = expected + (query - x[start + 1]).pow(2).sum() / 2
        for place in range(start + 2, start + size):
            distance = (query - x[place]).norm()
            met += int(distance > margin)
            if distance < margin:
                expected = expected + (margin - distance) ** 2 / 2
    expected = expected / tuples
    assert 0 < met < tuples * negatives or tuples < 4
    found = tuple_contrastive(x, labels, negatives=negatives, margin=margin)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(expected, x))


def test_numbers_worked_out_by_hand() -> None:
    """q = 0, p = 0.6, n = 0.35 and 2, m = 0.85: ½·0.36 + ½·0.25 + 0; and a tuple that is as it should be."""
    x = torch.tensor([[0.0], [0.6], [0.35], [2.0], [0.0], [0.0], [-0.85], [0.9]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2, 3, 3, 0, 1])
    value = tuple_contrastive(x, labels, negatives=2)
    torch.testing.assert_close(value, torch.tensor((0.18 + 0.125) / 2, dtype=torch.float64))


def test_the_place_says_who_is_positive_and_the_label_only_who_takes_part() -> None:
    x = batch(2, 4)
    whole = tuple_contrastive(x, torch.tensor([0, 1, 2, 3, 4, 4, 4, 4]), negatives=2)
    torch.testing.assert_close(whole, tuple_contrastive(x, torch.zeros(8, dtype=torch.int64), negatives=2))
    first = tuple_contrastive(x, torch.tensor([0, 0, 1, 1, -1, 0, 1, 1]), negatives=2)
    torch.testing.assert_close(first, tuple_contrastive(x[:4], torch.zeros(4).long(), negatives=2))
    shorter = tuple_contrastive(x[:4], torch.tensor([0, 0, -1, 1]), negatives=2)
    torch.testing.assert_close(shorter, tuple_contrastive(x[[0, 1, 3]], torch.zeros(3).long(), negatives=1))


def test_a_negative_on_the_query_counts_and_passes_no_gradient() -> None:
    x = torch.zeros(3, 2, requires_grad=True)
    value = TupleContrastive(negatives=1)(x, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(value, torch.tensor(0.85**2 / 2))
    (gradient,) = torch.autograd.grad(value, x)
    assert not gradient.any()


def test_what_is_no_tuple_is_refused() -> None:
    with pytest.raises(ValueError, match=r"whole tuples of 7 rows \(a query, .*, 5 negatives\), got 8 rows"):
        tuple_contrastive(torch.zeros(8, 2), torch.zeros(8, dtype=torch.int64))
    with pytest.raises(ValueError, match="needs negatives as a whole number of at least 1, got 0"):
        TupleContrastive(negatives=0)
