"""What every loss on labels promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.losses.supervised import (
    LMNN,
    BatchHardTriplet,
    Contrastive,
    CrossEntropy,
    LSoftmax,
    Margin,
    MultiSimilarity,
    ProxyAnchor,
    RMargin,
    SupervisedLoss,
    Triplet,
    Verification,
)

LABELS = torch.tensor([0, 1, -1, 0, 2, 1, -7, 2, 0, 3])
BUILD: dict[str, Callable[[], SupervisedLoss]] = {
    "multi_similarity": MultiSimilarity,
    "contrastive": Contrastive,
    "verification": Verification,
    "batch_hard_triplet": BatchHardTriplet,
    "batch_hard_triplet_mean": lambda: BatchHardTriplet(0.0, "mean"),
    "triplet": Triplet,
    "lmnn": LMNN,
    "proxy_anchor": lambda: ProxyAnchor(num_classes=6, dim=6),
    "l_softmax": lambda: LSoftmax(num_classes=6, dim=6),
    "cross_entropy": lambda: CrossEntropy(label_smoothing=0.1),
    "margin": lambda: Margin(num_classes=6, upper_cutoff=None),
    "r_margin": lambda: RMargin(num_classes=6, upper_cutoff=None),
}
EVERY = pytest.mark.parametrize("name", list(BUILD))
DETERMINISTIC = pytest.mark.parametrize("name", [name for name in BUILD if "margin" not in name])


def build(name: str) -> SupervisedLoss:
    torch.manual_seed(0)
    return BUILD[name]().double()


def batch(dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randn(10, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.normalize(x, dim=1).to(dtype).requires_grad_()


@DETERMINISTIC
def test_unlabelled_rows_take_no_part(name: str) -> None:
    loss, x = build(name), batch()
    labelled = LABELS >= 0
    found, expected = loss(x, LABELS), loss(x[labelled], LABELS[labelled])
    torch.testing.assert_close(found, expected)
    (g,) = torch.autograd.grad(found, x)
    (h,) = torch.autograd.grad(expected, x)
    torch.testing.assert_close(g, h)
    assert torch.equal(g[~labelled], torch.zeros_like(g[~labelled]))
    assert found.item() > 0


@pytest.mark.parametrize("name", ["margin", "r_margin"])
def test_unlabelled_rows_take_no_part_in_draws(name: str) -> None:
    """Their gradient is zero and moving them changes nothing, whatever is drawn."""
    loss, x = build(name), batch()
    moved = torch.where((LABELS < 0).unsqueeze(1), -x, x)
    for seed in range(5):
        found = loss(x, LABELS, generator=torch.Generator().manual_seed(seed))
        other = loss(moved, LABELS, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(found, other)
        (gradient,) = torch.autograd.grad(found, x)
        assert torch.equal(gradient[LABELS < 0], torch.zeros(2, 6, dtype=torch.float64))
        assert gradient.abs().sum() > 0


@EVERY
@pytest.mark.parametrize("labels", [[-1] * 10, [0] + [-1] * 9], ids=["none", "one"])
def test_no_labelled_pair_is_zero_with_a_graph(name: str, labels: list[int]) -> None:
    loss, x = build(name), batch()
    value = loss(x, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.isfinite().all()
    if labels[0] < 0 or name not in ("proxy_anchor", "l_softmax", "cross_entropy"):
        assert value.item() == 0
        assert torch.equal(gradient, torch.zeros_like(x))


@EVERY
def test_duplicates_and_one_class_have_finite_gradients(name: str) -> None:
    loss = build(name)
    duplicated = batch().detach().clone()
    duplicated[3] = duplicated[0]  # of one class
    duplicated[1] = duplicated[0]  # of two classes
    for x in (duplicated, torch.ones(10, 6, dtype=torch.float64)):
        x.requires_grad_()
        for labels in (LABELS, torch.zeros(10, dtype=torch.int64)):
            value = loss(x, labels)
            (gradient,) = torch.autograd.grad(value, x)
            assert value.isfinite()
            assert gradient.isfinite().all()


@DETERMINISTIC
def test_gradcheck(name: str) -> None:
    loss = build(name).eval()
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS), (batch(),))


@DETERMINISTIC
def test_permuting_the_batch_changes_nothing(name: str) -> None:
    loss, x = build(name), batch()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(loss(x[order], LABELS[order]), loss(x, LABELS))


@EVERY
def test_single_row_and_errors(name: str) -> None:
    loss, x = build(name), batch()
    assert loss(x[:1], LABELS[:1]).isfinite()
    with pytest.raises(ValueError, match="one int64 label for each of 10 rows"):
        loss(x, LABELS[:9])
    with pytest.raises(ValueError, match="non-empty"):
        loss(x[:0], LABELS[:0])


@EVERY
def test_autocast_changes_nothing(name: str) -> None:
    loss, x = build(name).float(), batch(torch.float32)
    expected = loss(x, LABELS, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(x, LABELS, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found, expected)


@EVERY
def test_declares_what_it_needs(name: str) -> None:
    loss = build(name)
    wanted = {"l_softmax": "raw", "cross_entropy": "logits"}.get(name, "embedding")
    assert loss.inputs == (wanted, "labels")
    assert loss.capturable
    assert type(loss).__name__ in repr(loss)


@pytest.mark.slow
@DETERMINISTIC
def test_compiles_without_breaks(name: str) -> None:
    torch.compiler.reset()
    loss, x = build(name).eval(), batch()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found, expected = compiled(x, LABELS), loss(x, LABELS)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, x), torch.autograd.grad(expected, x))


@pytest.mark.parametrize(
    "loss",
    [ProxyAnchor(4, 6), LSoftmax(4, 6), Margin(4), CrossEntropy()],
    ids=lambda loss: type(loss).__name__,
)
def test_a_label_beyond_the_classes_is_an_error(loss: SupervisedLoss) -> None:
    x = torch.randn(4, 6 if loss.inputs[0] != "logits" else 4)
    loss(x, torch.tensor([0, 0, 3, 3]))
    with pytest.raises(IndexError):
        loss(x, torch.tensor([0, 0, 4, 4]))
