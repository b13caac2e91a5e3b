from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from understudy import heap
from understudy.config import OptimConfig
from understudy.data import Augmentation, Pixels
from understudy.data.batches import Batch, Batches
from understudy.data.samplers import BatchStream, ClassBalanced
from understudy.losses import BatchHardTriplet, MultiSimilarity, RelativeTeacher
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher
from understudy.training.caching import cached_backward, normalises_by_batch
from understudy.training.ema import MovingAverage
from understudy.training.guard import NotFinite
from understudy.training.loop import Loop
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm
from understudy.training.optim import build_optimiser, load_optimiser
from understudy.training.signals import Stopped, StopRequest
from understudy.training.task import Task

SIZE = 16


def pixels() -> tuple[Pixels, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 1, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    return Pixels(images, torch.arange(24)), np.arange(24) // 4


def student(**settings: Any) -> Any:
    value = {"backbone": "smallconv_8", "dim": 8, "input_size": (SIZE, SIZE), **settings}
    torch.manual_seed(0)
    return build_embedder(value)


def batches(start: int, augmentation: Augmentation | None = None) -> Iterator[Batch]:
    images, labels = pixels()
    sampler = ClassBalanced(np.arange(24), labels, 3, 4, replacement=False, seed=0)
    stream = BatchStream(sampler)
    epoch, index = divmod(start, len(sampler))
    stream.load_state_dict({"epoch": epoch, "index": index})
    return iter(Batches(images, labels, stream, augmentation=augmentation or Augmentation(rotate=15)))


def task(**settings: Any) -> Task:
    torch.manual_seed(1)
    teacher = LiveTeacher(
        build_embedder({"backbone": "smallconv_8", "dim": 12, "input_size": (SIZE, SIZE)}), name="t"
    )
    terms = [
        SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0),
        DistillationTerm("relative_teacher", RelativeTeacher(), "embedding", "main", 5.0),
    ]
    return Task(student(**settings), terms, {"main": teacher})


def loop(steps: int, **settings: Any) -> Loop:
    own = task()
    settings = {"rate": lambda step: 1.0 - step / 100, "clip": 1.0, **settings}
    return Loop(own, build_optimiser(own, OptimConfig(lr=0.01)), batches, steps=steps, **settings)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def test_training_lowers_the_loss() -> None:
    seen: list[float] = []
    loop(30, log_every=10, on_log=lambda step, parts, rate: seen.append(parts["loss"])).run()
    assert len(seen) == 3
    assert seen[-1] < 0.8 * seen[0]


def test_kept_memory_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    if heap._mallopt() is None:
        pytest.skip("this process keeps no memory")
    seen: list[int] = []
    kept = loop(5, log_every=1, on_log=lambda step, parts, rate: seen.append(heap._keeping))
    kept.run()
    assert seen == [1] * 5
    assert heap._keeping == 0
    monkeypatch.setattr(heap, "_mallopt", lambda: None)
    plain = loop(5, log_every=1, on_log=lambda step, parts, rate: seen.append(heap._keeping))
    plain.run()
    assert seen[5:] == [0] * 5
    assert torch.equal(weights(kept.task), weights(plain.task))


def test_a_resumed_run_ends_at_the_same_bits() -> None:
    states: dict[int, dict[str, Any]] = {}
    logs: list[tuple[int, dict[str, float]]] = []
    whole = loop(
        11,
        average=None,
        checkpoint_every=3,
        log_every=4,
        on_checkpoint=lambda step, state: states.update({step: _through_disk(state)}),
        on_log=lambda step, parts, rate: logs.append((step, parts)),
    )
    whole.run()
    again: list[tuple[int, dict[str, float]]] = []
    resumed = loop(11, log_every=4, on_log=lambda step, parts, rate: again.append((step, parts)))
    torch.manual_seed(99)
    resumed.load_state(states[6])
    resumed.run()
    assert torch.equal(weights(whole.task), weights(resumed.task))
    assert again == [entry for entry in logs if entry[0] > 6]


def _through_disk(state: dict[str, Any]) -> dict[str, Any]:
    import io

    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    read: dict[str, Any] = torch.load(file, weights_only=True)
    return read


def test_the_average_follows_and_resumes() -> None:
    own = task()
    average = MovingAverage(own.student, 0.9)
    run = Loop(
        own, build_optimiser(own, OptimConfig()), batches, steps=4, rate=lambda _: 1.0, average=average
    )
    run.run()
    assert not torch.equal(weights(own.student), weights(average.model))
    other = task()
    copy = MovingAverage(other.student, 0.9)
    back = Loop(
        other, build_optimiser(other, OptimConfig()), batches, steps=4, rate=lambda _: 1.0, average=copy
    )
    back.load_state(_through_disk(run.state()))
    assert torch.equal(weights(copy.model), weights(average.model))


def test_a_stop_writes_a_checkpoint_after_the_step_under_way() -> None:
    request, saved = StopRequest(), []
    run = loop(
        10,
        log_every=1,
        on_log=lambda step, *_: request.ask("SIGTERM") if step == 3 else None,
        on_checkpoint=lambda step, state: saved.append(step),
    )
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 10"):
        run.run(request)
    assert saved == [3]


class Explosive(nn.Module):
    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.calls, self.at, self.value = 0, at, value

    def forward(self, rows: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return rows.sum() * (self.value if self.calls == self.at else 1.0)


@pytest.mark.parametrize(("value", "kind"), [(float("nan"), "nan"), (float("inf"), "infinite")])
def test_a_bad_loss_stops_before_it_reaches_the_weights(value: float, kind: str) -> None:
    own = Task(student(), [SupervisedTerm("explosive", Explosive(3, value), "embedding", 1.0)])
    saved: dict[int, torch.Tensor] = {}
    run = Loop(
        own,
        build_optimiser(own, OptimConfig()),
        batches,
        steps=5,
        rate=lambda _: 1.0,
        checkpoint_every=1,
        on_checkpoint=lambda step, state: saved.update({step: weights(own)}),
    )
    with pytest.raises(NotFinite, match=f"the loss part 'explosive' became (nan|{kind}) at step 2"):
        run.run()
    assert sorted(saved) == [1, 2]
    trained = [p for p in own.student.parameters() if p.requires_grad]
    assert all(torch.isfinite(p).all() for p in trained)


def gradient(own: Task) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in own.parameters() if p.grad is not None])


@pytest.mark.parametrize("pieces", [2, 5, 12])
def test_cached_gradients_are_those_of_the_plain_step(pieces: int) -> None:
    """With frozen batch statistics the gradient is the same to rounding, uneven pieces included."""
    plain, cached = task(freeze_bn=True).train(), task(freeze_bn=True).train()
    batch = next(batches(0))
    parts = plain(batch)
    parts["loss"].backward()
    other = cached_backward(cached, batch, pieces)
    torch.testing.assert_close(gradient(cached), gradient(plain), atol=1e-5, rtol=1e-4)
    for name, value in parts.items():
        torch.testing.assert_close(other[name], value.detach(), atol=1e-5, rtol=1e-5)


def test_cached_gradients_replay_dropout_and_count_batch_statistics_once() -> None:
    own = task().train()
    own.student.head.register_forward_pre_hook(lambda _, inputs: nn.functional.dropout(inputs[0], 0.5))
    assert normalises_by_batch(own)
    seen: list[torch.Tensor] = []
    own.student.register_forward_hook(lambda _m, _i, out: seen.append(out["raw"].detach().clone()))
    cached_backward(own, next(batches(0)), 3)
    for first, second in zip(seen[:3], seen[3:], strict=True):
        torch.testing.assert_close(first, second, atol=0, rtol=0)
    counted = [b for n, b in own.student.named_buffers() if n.endswith("num_batches_tracked")]
    assert all(int(count) == 3 for count in counted)


def test_the_loop_takes_cached_steps() -> None:
    plain, cached = loop(3, pieces=1), loop(3, pieces=4)
    for run in (plain, cached):
        for module in run.task.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.0
    cached.run()
    assert cached.step == 3
    assert not torch.equal(weights(cached.task), weights(task()))


def test_two_teachers_at_once_and_neither_in_the_state() -> None:
    torch.manual_seed(2)
    one, two = (
        LiveTeacher(
            build_embedder({"backbone": "smallconv_8", "dim": dim, "input_size": size}), name=f"t{dim}"
        )
        for dim, size in ((12, (16, 16)), (20, (24, 24)))
    )
    before = [weights(t.model).clone() for t in (one, two)]
    terms = [
        DistillationTerm("relative_teacher.0", RelativeTeacher(), "embedding", "a", 1.0),
        DistillationTerm("relative_teacher.1", RelativeTeacher(), "embedding", "b", 1.0),
        SupervisedTerm("batch_hard_triplet", BatchHardTriplet(), "embedding", 1.0),
    ]
    own = Task(student(), terms, {"a": one, "b": two}, views={"a": "same", "b": "clean"})
    parts = own(next(batches(0)))
    expected = sum(float(parts[term.name]) for term in terms)
    assert float(parts["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(parts["relative_teacher.0"]) != float(parts["relative_teacher.1"])
    assert all(name.startswith(("student.", "terms.")) for name in own.state_dict())
    Loop(own, build_optimiser(own, OptimConfig()), batches, steps=2, rate=lambda _: 1.0).run()
    for teacher, old in zip((one, two), before, strict=True):
        assert torch.equal(weights(teacher.model), old)
        assert not teacher.model.training


def test_vectors_get_no_weight_decay() -> None:
    own = task()
    optimiser = build_optimiser(own, OptimConfig(weight_decay=0.5))
    for group in optimiser.param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])
    counted = sum(p.numel() for g in optimiser.param_groups for p in g["params"])
    assert counted == sum(p.numel() for p in own.parameters() if p.requires_grad)


def test_what_belongs_to_the_device_is_not_loaded_from_a_checkpoint() -> None:
    """A recorded step reads its rate from one place: a number in its stead would never change."""

    def optimiser(rate: Any, **settings: Any) -> torch.optim.Optimizer:
        group = {"params": [nn.Parameter(torch.ones(2))], "base_lr": 0.1, "lr": rate, "weight_decay": 0.0}
        return torch.optim.AdamW([group], **settings)

    there = optimiser(torch.tensor(0.1), capturable=True, foreach=False)
    rate = there.param_groups[0]["lr"]
    here = optimiser(0.025, fused=True)
    load_optimiser(there, here.state_dict())
    (group,) = there.param_groups
    assert group["lr"] is rate
    assert float(rate) == pytest.approx(0.025)
    assert (group["capturable"], group["foreach"], group["fused"]) == (True, False, None)
    load_optimiser(here, there.state_dict())
    (group,) = here.param_groups
    assert isinstance(group["lr"], float)
    assert (group["capturable"], group["foreach"], group["fused"]) == (False, None, True)
