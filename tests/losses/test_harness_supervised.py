"""What every registered loss on labels must do, whatever it computes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.losses.registry import LOSSES, build_loss

CLASSES, DIM = 4, 5
LABELS = torch.tensor([0, 2, 1, 0, 1, 1, 2, 0, 3])


@dataclass(frozen=True)
class Promise:
    """What a loss promises besides what all of them do.

    Attributes:
        pairs: Whether it needs pairs of rows, so that a lonely row is worth nothing.
        random: Whether it draws, by row number.
        places: Whether a row's place in the batch says what it is.
        args: Settings with which it is tested.
    """

    pairs: bool = True
    random: bool = False
    places: bool = False
    args: dict[str, Any] = field(default_factory=dict)


PROMISES: dict[str, list[Promise]] = {
    "multi_similarity": [Promise()],
    "batch_hard_triplet": [Promise(args={"margin": 1.0})],
    "margin": [
        Promise(random=True),
        Promise(random=True, args={"num_classes": None, "upper_cutoff": None, "beta": 0.9}),
    ],
    "r_margin": [Promise(random=True)],
    "contrastive": [Promise(args={"margin": 1.5})],
    "proxy_anchor": [Promise(pairs=False)],
    "triplet": [Promise(args={"margin": 1.0})],
    "lmnn": [Promise()],
    "verification": [Promise()],
    "tuple_contrastive": [Promise(places=True, args={"negatives": 1, "margin": 1.5})],
    "l_softmax": [Promise(pairs=False)],
    "cross_entropy": [Promise(pairs=False)],
}
every = pytest.mark.parametrize(
    ("name", "promise"),
    [
        pytest.param(name, promise, id="-".join([name, *(f"{k}={v}" for k, v in promise.args.items())]))
        for name, promises in PROMISES.items()
        for promise in promises
    ],
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(name: str, n: int = 9, dtype: torch.dtype = torch.float64) -> Tensor:
    """Embeddings of length 1, or logits."""
    if LOSSES[name].inputs[0] == "logits":
        return torch.randn(n, CLASSES, dtype=torch.float64, generator=seeded()).to(dtype)
    x = torch.randn(n, DIM, dtype=torch.float64, generator=seeded())
    return F.normalize(x, dim=1).to(dtype)


def build(name: str, promise: Promise, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return build_loss(name, promise.args, num_classes=CLASSES, dim=DIM).to(dtype)


def gradient(
    loss: nn.Module, x: Tensor, labels: Tensor = LABELS, *, autocast: bool = False
) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    generator = seeded()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        total: Tensor = loss(x, labels, generator=generator)
    return total.detach(), torch.autograd.grad(total, x)[0]


def test_every_loss_on_labels_is_covered() -> None:
    assert set(PROMISES) == {name for name, entry in LOSSES.items() if entry.supervised}


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_finite_scalar_with_gradients(name: str, promise: Promise, dtype: torch.dtype) -> None:
    loss = build(name, promise, dtype)
    total, slope = gradient(loss, rows(name, dtype=dtype))
    assert total.shape == ()
    assert total.dtype == dtype
    assert total.isfinite()
    assert total > 0
    assert slope.isfinite().all()
    assert slope.abs().max() > 0
    parameters = list(loss.parameters())
    if parameters:
        value = loss(rows(name, dtype=dtype), LABELS, generator=seeded())
        assert all(g.isfinite().all() and g.any() for g in torch.autograd.grad(value, parameters))


@every
def test_float32_agrees_with_float64(name: str, promise: Promise) -> None:
    single = gradient(build(name, promise, torch.float32), rows(name, dtype=torch.float32))
    double = gradient(build(name, promise), rows(name).float().double())
    torch.testing.assert_close(single[0].double(), double[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(single[1].double(), double[1], rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, promise: Promise, dtype: torch.dtype) -> None:
    loss = build(name, promise, torch.float32)
    x = rows(name, dtype=dtype)
    expected, slope = gradient(loss, x.float())
    for region in (False, True):
        total, half_slope = gradient(loss, x, autocast=region)
        assert total.dtype == torch.float32
        assert torch.equal(total, expected)
        torch.testing.assert_close(half_slope, slope.to(dtype))
    torch.testing.assert_close(gradient(loss, x.float(), autocast=True), (expected, slope), rtol=0, atol=0)


@every
def test_gradcheck(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    x = rows(name).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, LABELS, generator=seeded()), x)


@every
def test_the_order_of_the_rows_does_not_matter(name: str, promise: Promise) -> None:
    if promise.random or promise.places:
        pytest.skip("rows are told apart by their numbers")
    loss = build(name, promise)
    x = rows(name)
    order = torch.tensor([3, 8, 0, 6, 1, 5, 2, 4, 7])
    total, slope = gradient(loss, x)
    permuted, permuted_slope = gradient(loss, x[order], LABELS[order])
    torch.testing.assert_close(permuted, total)
    torch.testing.assert_close(permuted_slope, slope[order])


@every
def test_names_of_classes_do_not_matter(name: str, promise: Promise) -> None:
    if LOSSES[name].inputs[0] == "logits" or list(build(name, promise).parameters()):
        pytest.skip("classes have parameters")
    loss = build(name, promise)
    renamed = torch.tensor([7, 1000, 3, 0])[LABELS]
    torch.testing.assert_close(gradient(loss, rows(name), renamed), gradient(loss, rows(name)))


@every
def test_unlabelled_rows_take_no_part(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    x, labels = rows(name), LABELS.clone()
    labels[[1, 4, 7]] = torch.tensor([-1, -1, -5])
    kept = labels >= 0
    total, slope = gradient(loss, x, labels)
    assert slope[~kept].abs().max() == 0
    elsewhere = x.clone()
    elsewhere[~kept] = 3 * elsewhere[~kept] + 1
    torch.testing.assert_close(gradient(loss, elsewhere, labels), (total, slope))
    if not promise.random and not promise.places:
        alone, alone_slope = gradient(loss, x[kept], labels[kept])
        torch.testing.assert_close(total, alone)
        torch.testing.assert_close(slope[kept], alone_slope)


@every
@pytest.mark.parametrize(
    "labels",
    [
        pytest.param([-1] * 9, id="none labelled"),
        pytest.param([-1] * 8 + [2], id="one labelled"),
        pytest.param([1] * 9, id="one class"),
        pytest.param([-1] * 7 + [0, 3], id="no pair of one class"),
        pytest.param([2], id="one row"),
    ],
)
def test_batches_without_partners(name: str, promise: Promise, labels: list[int]) -> None:
    loss = build(name, promise)
    if promise.places and len(labels) == 1:
        pytest.skip("one row is no tuple")
    total, slope = gradient(loss, rows(name, len(labels)), torch.tensor(labels))
    assert total.isfinite()
    assert slope.isfinite().all()
    if max(labels) < 0 or (promise.pairs and sum(label >= 0 for label in labels) == 1):
        assert total == 0
        assert not slope.any()


@every
@pytest.mark.parametrize("kind", ["duplicates", "all alike", "ties", "zeros", "antipodes"])
def test_degenerate_batches_stay_finite(name: str, promise: Promise, kind: str) -> None:
    loss = build(name, promise, torch.float32)
    x = rows(name, dtype=torch.float32)
    if kind == "duplicates":
        x = torch.cat([x[:5], x[:4]])
    elif kind == "all alike":
        x = x[:1].repeat(9, 1)
    elif kind == "ties":
        x = torch.eye(x.shape[1])[torch.arange(9) % x.shape[1]]
    elif kind == "zeros":
        x = torch.zeros_like(x)
    else:
        x = torch.cat([x[:5], -x[:4]])
    total, slope = gradient(loss, x)
    assert total.isfinite()
    assert slope.isfinite().all()


@every
def test_draws_come_from_the_generator_alone(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    state = torch.get_rng_state()
    totals = [gradient(loss, rows(name))[0].item() for _ in range(2)]
    assert totals[0] == totals[1]
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_bad_inputs_are_refused(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    x = rows(name)
    for labels in (LABELS.float(), LABELS[:5], LABELS.unsqueeze(1)):
        with pytest.raises(ValueError, match="needs one int64 label for each of 9 rows"):
            loss(x, labels)
    with pytest.raises(ValueError, match="needs a non-empty"):
        loss(x[:0], LABELS[:0])


@every
def test_nothing_waits_for_the_device(name: str, promise: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, reading a value or a shape that depends on values raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    loss = build(name, promise, torch.float32).to("meta")
    assert getattr(loss, "capturable", False)
    x = rows(name, dtype=torch.float32).to("meta").requires_grad_()
    total = loss(x, LABELS.to("meta"))
    assert total.shape == ()
    assert torch.autograd.grad(total, x)[0].shape == x.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
def test_on_cuda_it_agrees_and_can_be_captured(name: str, promise: Promise) -> None:
    expected = gradient(build(name, promise, torch.float32), rows(name, dtype=torch.float32))
    loss = build(name, promise, torch.float32).cuda()
    x, labels = rows(name, dtype=torch.float32).cuda().requires_grad_(), LABELS.cuda()

    def step() -> tuple[Tensor, Tensor]:
        total = loss(x, labels)
        return total, torch.autograd.grad(total, x)[0]

    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    assert captured[0].isfinite()
    if not promise.random:
        torch.testing.assert_close([t.cpu() for t in captured], list(expected), rtol=1e-4, atol=1e-5)
