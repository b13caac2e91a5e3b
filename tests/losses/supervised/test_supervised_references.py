"""Values and gradients against pytorch-metric-learning and against loops over pairs and triplets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytorch_metric_learning import distances as pml_distances
from pytorch_metric_learning import losses as pml_losses
from pytorch_metric_learning import miners as pml_miners
from torch import Tensor

from understudy.losses.supervised import (
    LSoftmax,
    ProxyAnchor,
    batch_hard_triplet,
    contrastive,
    cross_entropy,
    l_softmax,
    lmnn,
    multi_similarity,
    proxy_anchor,
    triplet,
    verification,
)

LABELS = torch.tensor([0, 1, 0, 2, 1, 2, 0, 3, 1, 0])
EUCLIDEAN = pml_distances.LpDistance(normalize_embeddings=False)


def batch(normalized: bool = False, seed: int = 0) -> Tensor:
    x = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (torch.nn.functional.normalize(x, dim=1) if normalized else x).requires_grad_()


def assert_same(found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs))


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(
    "settings", [{}, {"alpha": 1.0, "beta": 50.0, "base": 1.0, "margin": 0.3}, {"margin": -0.4}]
)
def test_multi_similarity(settings: dict[str, float], normalized: bool) -> None:
    values = {"alpha": 2.0, "beta": 40.0, "base": 0.5, "margin": 0.1} | settings
    miner = pml_miners.MultiSimilarityMiner(epsilon=values.pop("margin"))
    reference = pml_losses.MultiSimilarityLoss(**values)
    for seed in range(3):
        x = batch(normalized, seed)
        expected = reference(x, LABELS, miner(x, LABELS))
        assert_same(multi_similarity(x, LABELS, **settings), expected, x)


@pytest.mark.parametrize("margin", [0.0, 0.2, 3.0])
def test_batch_hard_triplet(margin: float) -> None:
    x = batch()
    miner = pml_miners.BatchHardMiner(distance=EUCLIDEAN)
    reference = pml_losses.TripletMarginLoss(margin=margin, distance=EUCLIDEAN)
    expected = reference(x, LABELS, miner(x, LABELS))
    assert_same(batch_hard_triplet(x, LABELS, margin=margin), expected, x)


def test_batch_hard_triplet_mean_is_that_of_all_anchors() -> None:
    x = batch()
    hinges = []
    for a in range(10):
        positives = [(x[a] - x[p]).norm() for p in range(10) if p != a and LABELS[p] == LABELS[a]]
        negatives = [(x[a] - x[n]).norm() for n in range(10) if LABELS[n] != LABELS[a]]
        if positives:
            hinges.append((torch.stack(positives).max() - torch.stack(negatives).min()).relu())
    assert len(hinges) == 9
    assert_same(batch_hard_triplet(x, LABELS, margin=0.0, reduction="mean"), torch.stack(hinges).mean(), x)


@pytest.mark.parametrize("settings", [{}, {"margin": 3.0, "positive_margin": 1.5}])
def test_contrastive(settings: dict[str, float]) -> None:
    x = batch()
    reference = pml_losses.ContrastiveLoss(
        pos_margin=settings.get("positive_margin", 0.0),
        neg_margin=settings.get("margin", 1.0),
        distance=EUCLIDEAN,
    )
    assert_same(contrastive(x, LABELS, **settings), reference(x, LABELS), x)


def test_verification() -> None:
    x = batch()
    terms = []
    for i in range(10):
        for j in range(10):
            d = (x[i] - x[j]).norm()
            if i != j:
                terms.append(d**2 / 2 if LABELS[i] == LABELS[j] else (2.0 - d).relu() ** 2 / 2)
    assert_same(verification(x, LABELS, margin=2.0), torch.stack(terms).mean(), x)


def triplets(a: int) -> list[tuple[int, int]]:
    positives = [p for p in range(10) if p != a and LABELS[p] == LABELS[a]]
    return [(p, n) for p in positives for n in range(10) if LABELS[n] != LABELS[a]]


@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("margin", [0.0, 0.9])
def test_triplet(margin: float, squared: bool) -> None:
    x = batch()
    power = 2 if squared else 1
    terms = [
        ((x[a] - x[p]).norm() ** power - (x[a] - x[n]).norm() ** power + margin).relu()
        for a in range(10)
        for p, n in triplets(a)
    ]
    assert_same(triplet(x, LABELS, margin=margin, squared=squared), torch.stack(terms).mean(), x)


def test_lmnn() -> None:
    x = batch()
    terms = []
    for a in range(10):
        for p in {p for p, _ in triplets(a)}:
            near = (x[a] - x[p]).square().sum() / 2
            hinges = [
                (near - (x[a] - x[n]).square().sum() / 2 + 0.9).relu() for q, n in triplets(a) if q == p
            ]
            terms.append(near + 0.1 * torch.stack(hinges).mean())
    assert_same(lmnn(x, LABELS), torch.stack(terms).mean(), x)


def test_lmnn_of_a_paired_batch_is_the_published_code() -> None:
    """There y = ½(d_ap² + ε·mean_n [d_ap² − d_an² + 2m]₊), the anchor's pair being the row beside it."""
    x, labels = batch()[:8], torch.arange(8) // 2
    values = []
    for a in range(8):
        p = a + 1 if a % 2 == 0 else a - 1
        others = [n for n in range(8) if n not in (a, p)]
        near, far = (x[a] - x[p]).square().sum(), (x[a] - x[others]).square().sum(1)
        values.append(0.5 * (near + 0.1 * (near - far + 2 * 0.9).relu().mean()))
    torch.testing.assert_close(lmnn(x, labels), torch.stack(values).mean())


@pytest.mark.parametrize("settings", [{}, {"alpha": 8.0, "margin": 0.3}])
def test_proxy_anchor(settings: dict[str, float]) -> None:
    x = batch()
    reference = pml_losses.ProxyAnchorLoss(6, 4, **settings).double()
    proxies: Any = reference.proxies
    assert_same(proxy_anchor(x, LABELS, proxies, **settings), reference(x, LABELS), x, proxies)
    module = ProxyAnchor(num_classes=6, dim=4, **settings)
    module.load_state_dict({"proxies": proxies})
    assert_same(module.double()(x, LABELS), reference(x, LABELS), x)


@pytest.mark.parametrize("margin", [1, 2, 3, 4, 5])
def test_l_softmax(margin: int) -> None:
    x = batch()
    reference = pml_losses.LargeMarginSoftmaxLoss(6, 4, margin=margin).double()
    weight: Any = reference.W
    found = l_softmax(x, LABELS, weight.T, margin=margin)
    assert_same(found, reference(x, LABELS), x, weight)
    module = LSoftmax(num_classes=6, dim=4, margin=margin).double()
    module.load_state_dict({"weight": weight.T, "steps": module.steps})
    assert_same(module(x, LABELS), reference(x, LABELS), x)


def test_l_softmax_blend() -> None:
    """λ → ∞ is the plain softmax; between, the own logit is the weighted mean of the two."""
    x, weight = batch(), torch.randn(6, 4, dtype=torch.float64)
    plain = torch.nn.functional.cross_entropy(x @ weight.T, LABELS)
    torch.testing.assert_close(l_softmax(x, LABELS, weight, blend=1e12), plain)
    torch.testing.assert_close(l_softmax(x, LABELS, weight, margin=1), plain)
    rows = []
    for row, label in zip(x, LABELS.tolist(), strict=True):
        logits = weight @ row
        length = weight[label].norm() * row.norm()
        theta = (logits[label] / length).acos()
        k = int(theta * 3 / torch.pi)
        psi = (-1) ** k * (3 * theta).cos() - 2 * k
        own = (4 * logits[label] + length * psi) / 5
        logits = torch.cat([logits[:label], own[None], logits[label + 1 :]])
        rows.append(logits.logsumexp(0) - own)
    assert_same(l_softmax(x, LABELS, weight, blend=4.0), torch.stack(rows).mean(), x)


def test_l_softmax_anneals_by_training_steps() -> None:
    module = LSoftmax(num_classes=6, dim=4, blend=8.0, blend_decay=0.5, blend_minimum=3.0)
    x, seen = batch().float(), []
    for _ in range(3):
        seen.append(float(module.blend_now()))
        expected = l_softmax(x, LABELS, module.weight, blend=seen[-1])
        torch.testing.assert_close(module(x, LABELS), expected)
    assert seen == [8.0, 4.0, 3.0]
    module.eval()(x, LABELS)
    assert module.steps.item() == 3
    restored = LSoftmax(num_classes=6, dim=4, blend=8.0, blend_decay=0.5)
    restored.load_state_dict(module.state_dict())
    assert restored.steps.item() == 3


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy(label_smoothing: float) -> None:
    x = batch()
    expected = torch.nn.functional.cross_entropy(x, LABELS, label_smoothing=label_smoothing)
    assert_same(cross_entropy(x, LABELS, label_smoothing=label_smoothing), expected, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "loss", [multi_similarity, batch_hard_triplet, contrastive, verification, triplet, lmnn, cross_entropy]
)
def test_half_precision_is_computed_in_float32(loss: Callable[..., Tensor], dtype: torch.dtype) -> None:
    x = batch().detach().to(dtype)
    assert torch.equal(loss(x, LABELS), loss(x.float(), LABELS))
    assert loss(x, LABELS).dtype == torch.float32
