"""What every registered distillation loss must do, whatever it computes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.losses.registry import LOSSES, build_loss


@dataclass(frozen=True)
class Promise:
    """What a loss promises besides what all of them do.

    Attributes:
        minimum: The fewest rows of a batch.
        zero: Whether student = teacher gives 0.
        args: Settings with which it is tested.
        permutes: Whether the order of the rows does not matter (random pairs depend on it).
    """

    minimum: int
    zero: bool = True
    args: dict[str, Any] = field(default_factory=dict)
    permutes: bool = True


SAMPLED = {"method": "sampled", "num_samples": 3}
PROMISES: dict[str, list[Promise]] = {
    # The likelihood of the teacher's order is below 1 even at the teacher.
    "hard_darkrank": [
        Promise(3, zero=False),
        Promise(3, zero=False, args={"list_length": 2, "tail": True}),
        Promise(3, zero=False, args={"alpha": "auto"}),
    ],
    "soft_darkrank": [
        Promise(3),
        Promise(3, args={"list_length": 3}),
        Promise(3, args={"alpha": "auto", "list_length": 4}),
        Promise(3, args=SAMPLED, permutes=False),
    ],
    "direct_match": [Promise(2)],
    "soft_target": [Promise(1)],
    "fitnet": [Promise(1)],
    "absolute_teacher": [Promise(1)],
    "relative_teacher": [Promise(2), Promise(2, args={"reduction": "frobenius"})],
    "hint": [Promise(1, zero=False, args={"student_channels": 3, "teacher_channels": 5})],
    "attention_transfer": [Promise(1)],
    "similarity_kl": [Promise(3), Promise(2, args={"temperature": 1.0, "include_self": True})],
    "interpolated": [
        Promise(2, permutes=False),
        Promise(
            2, permutes=False, args={"renormalize": True, "loss": "similarity_kl", "anchors": "original"}
        ),
        Promise(
            2, permutes=False, args={"pairs": "all", "loss": "soft_darkrank", "coefficient": ["beta", 2]}
        ),
    ],
    "rkd_distance": [Promise(3)],
    "rkd_angle": [Promise(3)],
    "pkt": [Promise(3)],
    "similarity_preserving": [Promise(2)],
    "correlation_congruence": [Promise(2)],
    # Its targets, pairs at distance 0 or beyond the margin, are not the teacher's distances.
    "relaxed_contrastive": [Promise(3, zero=False)],
    # The teacher's temperature is smaller than the student's by default.
    "contextual_similarity": [
        Promise(2, zero=False),
        Promise(2, args={"temperature": 0.1, "teacher_temperature": 0.1}),
    ],
}
CASES = [
    pytest.param(name, promise, id="-".join([name, *(f"{k}={v}" for k, v in promise.args.items())]))
    for name, promises in PROMISES.items()
    for promise in promises
]
VECTORS = [case for case in CASES if LOSSES[str(case.values[0])].inputs[0] != "maps"]
every = pytest.mark.parametrize(("name", "promise"), CASES)
every_on_vectors = pytest.mark.parametrize(("name", "promise"), VECTORS)


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def batch(
    name: str, n: int = 7, *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """Random rows without ties; the dimensions differ wherever they may."""
    generator = seeded(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(n, *shape, dtype=torch.float64, generator=generator).to(dtype)

    if LOSSES[name].inputs[0] == "maps":
        return draw(3, 4, 4), draw(5, 3, 6)
    return draw(4), draw(4 if LOSSES[name].equal_dims else 6)


def build(name: str, promise: Promise) -> nn.Module:
    torch.manual_seed(0)
    return build_loss(name, promise.args)


def value(loss: nn.Module, student: Tensor, teacher: Tensor, **keywords: Any) -> Tensor:
    """The loss, with the same draws every time."""
    if hasattr(loss, "splits_by_query"):
        keywords.setdefault("generator", seeded())
    total: Tensor = loss(student, teacher, **keywords)
    return total


def gradient(
    loss: nn.Module, student: Tensor, teacher: Tensor, *, autocast: bool = False, **keywords: Any
) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        total = value(loss, student, teacher, **keywords)
    return total.detach(), torch.autograd.grad(total, student)[0]


def test_every_distillation_loss_is_covered() -> None:
    assert set(PROMISES) == {name for name, entry in LOSSES.items() if not entry.supervised}


@every
def test_a_teacher_that_is_not_a_number_is_not_learnt_from(name: str, promise: Promise) -> None:
    """The guard of a run sees it by the loss alone; an order of NaNs is an order like any other."""
    student, teacher = batch(name)
    teacher[3, 0] = torch.nan
    assert gradient(build(name, promise), student, teacher)[0].isnan()


@every
def test_a_second_derivative_is_right_or_refused(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = batch(name)
    student = student.requires_grad_()
    total = value(loss, student, teacher)
    if promise.args.get("loss", name) in {"hard_darkrank", "soft_darkrank", "rkd_angle"}:
        with pytest.raises(RuntimeError, match="has no second derivative here: leave create_graph out"):
            torch.autograd.grad(total, student, create_graph=True)
        return
    (slope,) = torch.autograd.grad(total, student, create_graph=True)
    (curved,) = torch.autograd.grad(slope.square().sum() / 2, student)
    step = 1e-6
    along = slope.detach()
    ahead, behind = (gradient(loss, student.detach() + sign * step * along, teacher)[1] for sign in (1, -1))
    torch.testing.assert_close(curved, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-6)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_finite_scalar_with_a_gradient(name: str, promise: Promise, dtype: torch.dtype) -> None:
    loss = build(name, promise)
    total, slope = gradient(loss, *batch(name, dtype=dtype))
    assert total.shape == ()
    assert total.dtype == dtype
    assert total.isfinite()
    assert total > 0
    assert slope.isfinite().all()
    assert slope.abs().max() > 0


@every
def test_float32_agrees_with_float64(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    single = gradient(loss, *batch(name, dtype=torch.float32))
    double = gradient(loss, *(x.float().double() for x in batch(name)))
    torch.testing.assert_close(single[0].double(), double[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(single[1].double(), double[1], rtol=1e-4, atol=1e-5)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, promise: Promise, dtype: torch.dtype) -> None:
    loss = build(name, promise)
    student, teacher = batch(name, dtype=dtype)
    expected, slope = gradient(loss, student.float(), teacher.float())
    for region in (False, True):
        total, half_slope = gradient(loss, student, teacher, autocast=region)
        assert total.dtype == torch.float32
        assert torch.equal(total, expected)
        assert half_slope.dtype == dtype
        torch.testing.assert_close(half_slope, slope.to(dtype))


@every
def test_autocast_does_not_touch_float32(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = batch(name, dtype=torch.float32)
    expected = gradient(loss, student, teacher)
    torch.testing.assert_close(gradient(loss, student, teacher, autocast=True), expected, rtol=0, atol=0)


@every
def test_gradcheck(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = batch(name, 5)
    assert torch.autograd.gradcheck(lambda x: value(loss, x, teacher), student.requires_grad_())


@every
def test_the_teacher_gets_no_gradient(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = (x.requires_grad_() for x in batch(name))
    torch.autograd.backward(value(loss, student, teacher))
    assert student.grad is not None
    assert teacher.grad is None
    # With nothing to train there is no graph at all.
    assert not value(loss, student.detach(), teacher).requires_grad or list(loss.parameters())


@every
def test_the_inputs_are_left_alone(name: str, promise: Promise) -> None:
    student, teacher = batch(name)
    before = student.clone(), teacher.clone()
    gradient(build(name, promise), student, teacher)
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@every
def test_the_order_of_the_rows_does_not_matter(name: str, promise: Promise) -> None:
    if not promise.permutes:
        pytest.skip("draws belong to row numbers")
    loss = build(name, promise)
    student, teacher = batch(name)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    total, slope = gradient(loss, student, teacher)
    permuted, permuted_slope = gradient(loss, student[order], teacher[order])
    torch.testing.assert_close(permuted, total)
    torch.testing.assert_close(permuted_slope, slope[order])


@every
def test_draws_come_from_the_generator_alone(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    state = torch.get_rng_state()
    totals = [value(loss, *batch(name)).item() for _ in range(2)]
    assert totals[0] == totals[1]
    assert torch.equal(torch.get_rng_state(), state)


@every_on_vectors
def test_dimensions_differ_where_promised(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = torch.randn(5, 3), torch.randn(5, 4)
    if LOSSES[name].equal_dims:
        with pytest.raises(
            ValueError, match=f"{name} needs student and teacher of equal dimension, got 3 and 4"
        ):
            value(loss, student, teacher)
    else:
        assert value(loss, student, teacher).isfinite()


@every
def test_zero_at_the_teacher_where_promised(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    if LOSSES[name].inputs[0] == "maps" and not promise.zero:
        pytest.skip("the regressor stands between them")
    student, _ = batch(name)
    total, slope = gradient(loss, student, student)
    if promise.zero:
        assert total.abs() < 1e-12
        assert slope.abs().max() < 1e-7
    else:
        assert total > 1e-3


@every
def test_smallest_batch(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    total, slope = gradient(loss, *batch(name, promise.minimum))
    assert total.isfinite()
    assert slope.isfinite().all()
    below = [x[: promise.minimum - 1] for x in batch(name, promise.minimum)]
    with pytest.raises(ValueError, match=r"needs (a batch of at least|non-empty)"):
        value(loss, below[0], below[1])


@every
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
@pytest.mark.parametrize("kind", ["duplicates", "all alike", "ties", "zeros", "antipodes"])
def test_degenerate_batches_stay_finite(name: str, promise: Promise, who: str, kind: str) -> None:
    loss = build(name, promise)
    sides = list(batch(name, 8, dtype=torch.float32))
    for side in {"student": [0], "teacher": [1], "both": [0, 1]}[who]:
        x = sides[side]
        if kind == "duplicates":
            x = torch.cat([x[:4], x[:4]])
        elif kind == "all alike":
            x = x[:1].expand_as(x).contiguous()
        elif kind == "ties":
            x = torch.zeros_like(x).flatten(1)
            x[torch.arange(8), torch.arange(8) % x.shape[1]] = 1
            x = x.view_as(sides[side])
        elif kind == "zeros":
            x = torch.zeros_like(x)
        else:
            x = torch.cat([x[:4], -x[:4]])
        sides[side] = x
    total, slope = gradient(loss, *sides)
    assert total.isfinite()
    assert slope.isfinite().all()


@every
@pytest.mark.parametrize("scale", [1e-3, 30.0])
def test_long_and_short_embeddings_stay_finite(name: str, promise: Promise, scale: float) -> None:
    loss = build(name, promise)
    total, slope = gradient(loss, *(scale * x for x in batch(name, dtype=torch.float32)))
    assert total.isfinite()
    assert slope.isfinite().all()


@every_on_vectors
def test_queries(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = batch(name)
    total, slope = gradient(loss, student, teacher)
    everyone, same_slope = gradient(loss, student, teacher, queries=torch.arange(7))
    torch.testing.assert_close(everyone, total)
    torch.testing.assert_close(same_slope, slope)
    if loss.splits_by_query:
        # Processes that share the queries: the parts' mean, weighted, is the loss, in value and gradient.
        parts = [
            (gradient(loss, student, teacher, queries=torch.tensor(rows)), len(rows) / 7)
            for rows in ([6, 1, 3], [0, 2], [5, 4])
        ]
        torch.testing.assert_close(sum(part[0] * share for part, share in parts), total)
        torch.testing.assert_close(sum(part[1] * share for part, share in parts), slope)


@every_on_vectors
@pytest.mark.parametrize("queries", [torch.tensor([0.0]), torch.tensor([[0]]), torch.tensor([]).long()])
def test_wrong_queries_are_refused(name: str, promise: Promise, queries: Tensor) -> None:
    loss = build(name, promise)
    with pytest.raises(ValueError, match="needs queries as a non-empty int64 vector of row numbers"):
        value(loss, *batch(name), queries=queries)


def accepts_exclude(name: str) -> bool:
    return name != "interpolated" and LOSSES[name].inputs == ("embedding",) and not LOSSES[name].per_row


@pytest.mark.parametrize(("name", "promise"), [c for c in VECTORS if accepts_exclude(str(c.values[0]))])
def test_excluded_candidates_do_not_count(name: str, promise: Promise) -> None:
    loss = build(name, promise)
    student, teacher = batch(name)
    nobody = torch.zeros(7, 7, dtype=torch.bool)
    torch.testing.assert_close(value(loss, student, teacher, exclude=nobody), value(loss, student, teacher))
    # Without the last two rows in any relation the loss is that of the others alone.
    outsiders = nobody.clone()
    outsiders[:, 5:] = outsiders[5:] = True
    alone, alone_slope = gradient(loss, student[:5], teacher[:5])
    if name in ("similarity_preserving", "correlation_congruence"):
        alone, alone_slope = alone * 5 / 7, alone_slope * 5 / 7  # they divide by all n columns
    queries = torch.arange(5)
    total, slope = gradient(loss, student, teacher, queries=queries, exclude=outsiders)
    torch.testing.assert_close(total, alone)
    torch.testing.assert_close(slope[:5], alone_slope)
    assert slope[5:].abs().max() == 0
    # A query without candidates adds nothing and stays finite.
    total, slope = gradient(loss, student, teacher, exclude=~nobody)
    assert total.isfinite()
    assert slope.isfinite().all()


@every
def test_nothing_waits_for_the_device(name: str, promise: Promise, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, reading a value or a shape that depends on values raises."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # it knows no such device
    loss = build(name, promise).to("meta")
    assert getattr(loss, "capturable", False)
    student, teacher = (x.to("meta") for x in batch(name, dtype=torch.float32))
    try:
        total = loss(student.requires_grad_(), teacher)
    except NotImplementedError as error:
        if "_standard_gamma" not in str(error):
            raise
        pytest.skip("this PyTorch cannot draw from a beta distribution on the meta device")
    assert total.shape == ()
    assert torch.autograd.grad(total, student)[0].shape == student.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PROMISES)
def test_it_compiles_without_breaks(name: str, dtype: torch.dtype) -> None:
    torch.compiler.reset()
    loss = build(name, PROMISES[name][0])
    student, teacher = batch(name, dtype=dtype)
    student.requires_grad_()
    found = []
    for run in (loss, torch.compile(loss, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(0)
        total = run(student, teacher)
        found.append((total, torch.autograd.grad(total, student)[0]))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("name", "setting"), [("similarity_kl", "temperature"), ("hard_darkrank", "beta")])
def test_a_second_one_with_other_settings_compiles_too(name: str, setting: str) -> None:
    """The compiler then makes the setting a symbol."""
    torch.compiler.reset()
    student, teacher = batch(name)
    for number in (0.5, 0.7, 0.9):
        loss = build_loss(name, {setting: number})
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        torch.testing.assert_close(compiled(student, teacher), loss(student, teacher))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
def test_on_cuda_it_agrees_and_can_be_captured(name: str, promise: Promise) -> None:
    loss = build(name, promise).cuda()
    student, teacher = (x.cuda() for x in batch(name, dtype=torch.float32))
    if promise.permutes:
        expected = gradient(build(name, promise), student.cpu(), teacher.cpu())
        torch.testing.assert_close(
            gradient(loss, student, teacher), [x.cuda() for x in expected], rtol=1e-4, atol=1e-5
        )
    student.requires_grad_()

    def step() -> tuple[Tensor, Tensor]:
        total = loss(student, teacher)
        return total, torch.autograd.grad(total, student)[0]

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
    if promise.permutes:
        torch.testing.assert_close(captured, step(), rtol=1e-5, atol=1e-6)
