from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_metric_learning import distances as pml_distances
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners as pml_miners
from pytorch_metric_learning.utils import loss_and_miner_utils
from torch import Tensor

from understudy.losses._distances import pairwise_distances
from understudy.losses.supervised._base import pair_masks
from understudy.losses.supervised.margin import Margin, RMargin, distance_weights, draw, margin

LABELS = torch.tensor([0, 1, 0, 2, 1, 2, 0, 3, 1, 0])


def batch(dim: int = 6) -> Tensor:
    x = torch.randn(10, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(x, dim=1).requires_grad_()


@pytest.mark.parametrize("settings", [{}, {"cutoff": 0.9, "upper_cutoff": 1.6}])
@pytest.mark.parametrize("dim", [2, 3, 6, 20])
def test_weights_equal_the_miners(
    dim: int, settings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    caught: dict[str, Tensor] = {}

    def catch(labels: Tensor, ref_labels: Tensor, weights: Tensor) -> Any:
        caught["weights"] = weights
        return (labels[:0],) * 3

    monkeypatch.setattr(loss_and_miner_utils, "get_random_triplet_indices", catch)
    x = batch(dim).detach()
    pml_miners.DistanceWeightedMiner(
        cutoff=settings.get("cutoff", 0.5), nonzero_loss_cutoff=settings.get("upper_cutoff", 1.4)
    )(x, LABELS)
    expected = caught["weights"].nan_to_num()  # a row without any negative in range is 0/0 there
    found = distance_weights(pairwise_distances(x), pair_masks(LABELS)[1], dim, **settings)
    torch.testing.assert_close(found, expected)
    assert (found.sum(1) > 0.5).any()


def test_without_upper_cutoff_far_negatives_stay() -> None:
    d = torch.tensor([[0.0, 1.0, 1.9, 2.0]], dtype=torch.float64)
    found = distance_weights(d, d > 0, 8, upper_cutoff=None)[0]
    density = [x**6 * (1 - x**2 / 4) ** 2.5 for x in (1.0, 1.9)]
    expected = torch.tensor([0.0, 1 / density[0], 1 / density[1], 0.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected / expected.sum())


def test_draws_follow_the_weights() -> None:
    weights = torch.tensor([[0.0, 0.2, 0.0, 0.5, 0.3]] * 4000)
    drawn = draw(weights, torch.Generator().manual_seed(0))
    frequencies = drawn.flatten().bincount(minlength=5) / drawn.numel()
    torch.testing.assert_close(frequencies, weights[0], atol=0.02, rtol=0)
    assert frequencies[0] == frequencies[2] == 0


@pytest.mark.parametrize("per_class", [False, True])
def test_equals_pml_on_the_same_triplets(per_class: bool) -> None:
    x = batch()
    same, different = pair_masks(LABELS)
    distances = pairwise_distances(x)
    negatives = draw(different.double(), torch.Generator().manual_seed(1))
    reference = pml_losses.MarginLoss(
        margin=0.2,
        beta=1.2,
        learn_beta=True,
        num_classes=4 if per_class else None,
        distance=pml_distances.LpDistance(normalize_embeddings=False),
    ).double()
    beta: Any = reference.beta
    anchors, positives = same.nonzero(as_tuple=True)
    expected = reference(x, LABELS, (anchors, positives, negatives[anchors, positives]))
    found = margin(distances, same, negatives, beta[LABELS] if per_class else beta[0])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (x, beta)), torch.autograd.grad(expected, (x, beta))
    )


def test_module_draws_its_triplets_and_trains_beta() -> None:
    x = batch()
    module = Margin(num_classes=4).double()
    value = module(x, LABELS, generator=torch.Generator().manual_seed(2))
    same, different = pair_masks(LABELS)
    distances = pairwise_distances(x)
    weights = distance_weights(distances, different, 6)
    negatives = draw(weights, torch.Generator().manual_seed(2))
    usable = same & weights.any(1, keepdim=True)
    expected = margin(distances, usable, negatives, module.beta[LABELS])
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, module.beta)
    assert gradient.abs().sum() > 0
    assert torch.equal(value, module(x, LABELS, generator=torch.Generator().manual_seed(2)))
    assert not Margin(num_classes=None, learn_beta=False).beta.requires_grad


def test_an_anchor_without_a_negative_in_range_takes_no_part() -> None:
    """Rows 0 and 1 are a pair far from everything else, so nothing is drawn for them."""
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0], [-1.0, 0.3]], dtype=torch.float64)
    x = torch.nn.functional.normalize(x, dim=1)
    labels = torch.tensor([0, 0, 1, 2])
    assert Margin(num_classes=None, beta=0.05, width=0.02)(x, labels).item() == 0
    assert Margin(num_classes=None, beta=0.05, width=0.02, upper_cutoff=None)(x, labels).item() > 0


def test_swapped_pairs_are_pushed() -> None:
    """All swapped: [β − d_ap + m]₊ over all positive pairs, and no pull."""
    x = batch()
    same, _ = pair_masks(LABELS)
    distances = pairwise_distances(x)
    pushes = (1.2 - distances[same] + 0.2).relu()
    expected = pushes.sum() / (pushes > 0).sum()
    module = RMargin(num_classes=None, beta=1.2, swap=1.0).double()
    torch.testing.assert_close(module(x, LABELS), expected)


def test_a_fifth_is_swapped() -> None:
    x, labels = torch.nn.functional.normalize(torch.randn(60, 3), dim=1), torch.zeros(60, dtype=torch.int64)
    pushed = []
    for seed in range(30):
        module = RMargin(num_classes=None, beta=9.0)  # one class: nothing but swapped pairs counts
        value = module(x, labels, generator=torch.Generator().manual_seed(seed))
        pushed.append(value.item())
        assert value.item() == pytest.approx(9.2 - pairwise_distances(x).mean().item(), abs=0.1)
    assert len(set(pushed)) == 30
    chance = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    assert (chance < RMargin(num_classes=None).swap).float().mean().item() == pytest.approx(0.2, abs=0.02)


def test_errors() -> None:
    with pytest.raises(ValueError, match="swap between 0 and 1"):
        RMargin(num_classes=None, swap=1.5)
    with pytest.raises(ValueError, match="beta above 0"):
        Margin(num_classes=None, beta=0.0)
