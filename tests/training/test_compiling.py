"""Compiled tasks compute what plain ones do, and a compiler that fails costs nothing but its sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from understudy.data import Augmentation
from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.losses import HardDarkRank, MultiSimilarity, SimilarityKL, SoftDarkRank
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher
from understudy.training import compiling
from understudy.training.compiling import WORTH, Compilation, compiles
from understudy.training.objective.s2sd import S2SDTerm
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm
from understudy.training.processes import distributed
from understudy.training.task import Task

CPU = torch.device("cpu")
SETTINGS = {"backbone": "smallconv_8", "dim": 8, "input_size": (16, 16)}


def make_task(device: torch.device | str = "cpu") -> Task:
    torch.manual_seed(0)
    teacher = LiveTeacher(build_embedder({**SETTINGS, "dim": 12}).to(device))
    terms = [
        SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0),
        DistillationTerm("similarity_kl", SimilarityKL(), "embedding", "main", 10.0),
        DistillationTerm("hard_darkrank", HardDarkRank(), "embedding", "main", 0.1),
        DistillationTerm("soft_darkrank", SoftDarkRank(method="sampled"), "embedding", "main", 0.1),
    ]
    return Task(build_embedder(SETTINGS), terms, {"main": teacher}).train().to(device)


def make_batch(number: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(number)
    content = torch.randint(0, 256, (8, 1, 20, 20), dtype=torch.uint8, generator=generator)
    rows = torch.arange(8)
    augmentation = Augmentation(rotate=10, crop_scale=(0.5, 1.0), flip=0.5, brightness=0.2, erase=0.5)
    items = Items(rows, content, Views(augmentation, 0, rows, rows + number))
    return Batch(items, rows // 2, number)


def taken(task: Task, batch: Batch) -> tuple[dict[str, float], list[Tensor]]:
    parts = task(batch)
    task.zero_grad()
    parts["loss"].backward()
    gradients = [p.grad.clone() for p in task.parameters() if p.grad is not None]
    return {name: value.item() for name, value in parts.items()}, gradients


@pytest.mark.slow
def test_a_compiled_task_gives_the_same_losses_and_gradients() -> None:
    batch, sentences = make_batch(), list[str]()
    parts, gradients = taken(make_task(), batch)
    task = make_task()
    compilation = Compilation(task, sentences.append, backend="eager")
    found, slopes = compilation.guarded(lambda: taken(task, batch))()
    assert found == pytest.approx(parts, rel=1e-4)
    for ours, theirs in zip(slopes, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert sentences == []


@pytest.mark.slow
def test_compiled_self_distillation_is_plain_self_distillation() -> None:
    def make() -> Task:
        torch.manual_seed(0)
        term = S2SDTerm(lambda _: MultiSimilarity(), "msdf", (6, 7), base_dim=8, pooled_dim=16, delay=0)
        return Task(build_embedder(SETTINGS), [term]).train()

    batch = make_batch()
    parts, gradients = taken(make(), batch)
    task, seen = make(), list[str]()

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        seen.append(function.__name__)
        return function

    task.wrap(watched)
    assert {"_student_outputs", "_project", "_objective"} <= set(seen)
    Compilation(task, seen.append, backend="eager")
    found, slopes = taken(task, batch)
    assert found == pytest.approx(parts, rel=1e-5)
    for ours, theirs in zip(slopes, gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def broken(_module: object, _inputs: object) -> Callable[..., Any]:
    raise RuntimeError("no kernel today")


def test_a_compiler_that_fails_is_named_once_and_left_out() -> None:
    task, sentences = make_task(), list[str]()
    compilation = Compilation(task, sentences.append, backend=broken)  # type: ignore[arg-type]
    step = compilation.guarded(lambda: taken(task, make_batch()))
    parts, _ = step()
    step()
    assert parts == pytest.approx(taken(make_task(), make_batch())[0])
    assert len(sentences) == 1
    assert sentences[0].startswith("nothing is compiled: ")
    assert "no kernel today" in sentences[0]


def test_a_compiler_that_fails_in_one_of_several_processes_ends_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = make_task()
    compilation = Compilation(task, pytest.fail, backend=broken)  # type: ignore[arg-type]
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(compiling, "_PATIENCE", timedelta(seconds=0.1))
    monkeypatch.setattr(distributed, "_meetings", [dist.HashStore()])  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="no kernel today, and not so in every process: set compile to 'off'"):
        compilation.guarded(lambda: task.outputs(make_batch().items))()


def test_a_mistake_in_the_step_is_not_taken_for_the_compilers() -> None:
    task = make_task()
    calls = []

    def step() -> None:
        calls.append(1)
        raise ValueError("labels are missing")

    with pytest.raises(ValueError, match="labels are missing"):
        Compilation(task, lambda _: None, backend="eager").guarded(step)()
    assert len(calls) == 1


def test_a_teacher_of_a_compiled_run_is_plain_again_in_the_next() -> None:
    task = make_task()
    teacher = task._teachers["main"]
    assert isinstance(teacher, LiveTeacher)
    plain = teacher._outputs
    Compilation(task, lambda _: None, backend="eager")
    assert teacher._outputs != plain
    Task(build_embedder(SETTINGS), task.loss_terms(), {"main": teacher})
    assert teacher._outputs == plain


def test_only_long_runs_on_a_gpu_are_compiled_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    task, gpu = make_task(), torch.device("cuda")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/cc")
    assert compiles("auto", task, gpu, 2 * WORTH) == (True, None)
    assert compiles("auto", task, gpu, WORTH / 2) == (False, None)
    assert compiles("auto", task, CPU, 2 * WORTH) == (False, None)
    assert compiles("on", task, CPU, 1.0) == (True, None)
    assert compiles("off", task, gpu, 2 * WORTH) == (False, None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    sentence = "nothing is compiled: there is no C compiler: install gcc"
    assert compiles("auto", task, gpu, 2 * WORTH) == (False, sentence)
    assert compiles("on", task, gpu, 1.0) == (False, sentence)
    assert compiles("auto", task, gpu, WORTH / 2) == (False, None)


@pytest.mark.gpu
def test_on_a_gpu_compiled_and_recorded_is_close_to_plain() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    plain, compiled = make_task(device), make_task(device)
    batch = make_batch()
    batch = Batch(batch.items.to(device), batch.labels.to(device), batch.step)
    sentences: list[str] = []
    compilation = Compilation(compiled, sentences.append)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # 1e-3 in a convolution is 1e-1 here
        found, slopes = compilation.guarded(lambda: taken(compiled, batch))()
        parts, gradients = taken(plain, batch)
    assert sentences == []
    assert found == pytest.approx(parts, rel=1e-3)
    for ours, theirs in zip(slopes, gradients, strict=True):
        assert (ours - theirs).norm() <= 1e-2 * theirs.norm()


def test_all_come_to_a_point_each_time_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "_meetings", [dist.HashStore()])  # type: ignore[attr-defined]
    patience, soon = timedelta(seconds=60), timedelta(seconds=0.2)
    with ThreadPoolExecutor(2) as both:
        for _ in range(2):
            arrived = [both.submit(distributed.all_come_to, "here", within=patience) for _ in range(2)]
            assert [one.result() for one in arrived] == [True, True]
    assert not distributed.all_come_to("here", within=soon), "the others came before, not now"
    assert not distributed.all_come_to("there", within=soon)
