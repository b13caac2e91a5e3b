from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.losses import MultiSimilarity, build_loss
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher
from understudy.training.assemble import assemble
from understudy.training.capture import taught_outside, why_not
from understudy.training.loop import Loop
from understudy.training.objective.s2sd import S2SDTerm
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm, Term
from understudy.training.optim import build_optimiser
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.task import Task
from understudy.training.workshop import Workshop

CUDA = torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def task(*terms: Term) -> Task:
    return Task(build_embedder({"backbone": "smallconv_8", "dim": 4}), terms)


def test_what_speaks_against_recording_is_said() -> None:
    plain = SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0)
    waiting = SupervisedTerm("pml", build_loss("pml:AngularLoss", {}), "embedding", 1.0)
    assert why_not(CUDA, pieces=1, task=task(plain)) is None
    assert "'pml' waits" in str(why_not(CUDA, pieces=1, task=task(plain, waiting)))
    assert "pieces" in str(why_not(CUDA, pieces=2, task=task(plain)))
    assert "CUDA" in str(why_not(torch.device("cpu"), pieces=1, task=task(plain)))


def test_a_weight_that_grows_in_lies_on_the_device_and_is_written_only_when_it_changes() -> None:
    term = SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 2.0, warmup=2)
    place = term.clock.data_ptr()
    seen = []
    for step in range(4):
        before = term.clock._version
        term.set_step(step)
        seen.append((float(term.weighted(torch.tensor(3.0))), term.clock._version > before))
    assert seen == [(3.0, True), (6.0, True), (6.0, False), (6.0, False)]
    assert term.clock.data_ptr() == place


def test_the_delay_of_s2sd_is_on_the_device_too() -> None:
    term = S2SDTerm(lambda _: MultiSimilarity(), "msdf", (6,), base_dim=4, pooled_dim=8, delay=3)
    active = []
    for step in (0, 2, 3, 9):
        term.set_step(step)
        active.append(float(term.clock[1]))
    assert active == [0.0, 0.0, 1.0, 1.0]


def test_a_recorded_step_is_given_what_its_batch_brings_along() -> None:
    """Else the first batch's answers would be recorded for ever."""
    live = LiveTeacher(build_embedder({"backbone": "smallconv_8", "dim": 6}), name="live")
    names = ("live", "stored", "recorded")
    terms = [DistillationTerm(name, build_loss("pkt", {}), "embedding", name, 1.0) for name in names]
    teachers = dict.fromkeys(names, live)
    whole = Task(build_embedder({"backbone": "smallconv_8", "dim": 4}), terms, teachers)
    brought = {"stored": {"embedding": torch.ones(2, 3)}, "nobody's": {"embedding": torch.ones(2, 3)}}
    images = torch.zeros(2, 1, 40, 40, dtype=torch.uint8)
    batch = Batch(Items(torch.arange(2), images), torch.zeros(2, dtype=torch.int64), 0, taught=brought)
    found = taught_outside(whole, batch, ["recorded"])
    assert found.keys() == {"live", "stored"}
    assert found["stored"]["embedding"] is brought["stored"]["embedding"]
    assert live.queries == 2


def run(settings: Callable[..., dict[str, Any]], out: Path, **more: Any) -> list[dict[str, Any]]:
    usual = {"steps": 14, "device": "cuda", "precision": "fp32", "log_every": 2, "checkpoint_every": 5}
    config = settings(**{**usual, **more})
    execute(parse(RunConfig, config, where="here"), out)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "lr" in line]


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "more",
    [
        {"losses": [{"name": "hard_darkrank", "warmup": 8}], "optim": {"clip": 1.0}, "ema": 0.9},
        {"losses": ["relative_teacher"], "optim": {"name": "sgd", "lr": 0.001}},
        {"losses": [{"name": "soft_darkrank", "args": {"method": "sampled"}}]},
        {"losses": [], "teachers": {}, "s2sd": {"dims": [8, 12], "delay": 6}},
        {"losses": [{"name": "similarity_kl"}], "augment": {"num_views": 2, "flip": 0.5}},
    ],
    ids=["darkrank", "sgd", "drawing", "s2sd", "kept"],
)
def test_a_recorded_run_is_the_run(
    settings: Callable[..., dict[str, Any]], taught: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    more = {"teachers": {"main": str(taught / "teacher" / "model")}, **more}
    plain = run(settings, tmp_path / "plain", cuda_graph="off", **more)
    recorded = run(settings, tmp_path / "recorded", **more)
    assert len(plain) == len(recorded) == 7
    for ours, theirs in zip(recorded, plain, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"images_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], rel=2e-2, abs=1e-4), name


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_run_is_recorded_on_the_gpu_that_it_names(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first = run(settings, tmp_path / "first")
    second = run(settings, tmp_path / "second", device="cuda:1")
    assert torch.cuda.current_device() == 0
    for ours, theirs in zip(second, first, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-2)


@pytest.mark.gpu
@needs_gpu
def test_a_recorded_step_leaves_the_weights_alone_from_the_first_bad_value_on(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    from understudy.training.assemble import assemble
    from understudy.training.guard import NotFinite
    from understudy.training.loop import Loop
    from understudy.training.optim import build_optimiser
    from understudy.training.progress import Reporter
    from understudy.training.workshop import Workshop

    config = parse(RunConfig, settings(steps=30, device="cuda"), where="here")
    parts = assemble(config, Workshop(), Reporter(quiet=True))
    weight = next(parts.task.student.parameters())
    kept: list[torch.Tensor] = []

    def spoil(step: int) -> float:
        if step == 9:  # long after the recording
            with torch.no_grad():
                weight.view(-1)[0] = torch.nan
            kept.extend(p.detach().clone() for p in parts.task.student.parameters())
        return 1.0

    loop = Loop(
        parts.task,
        build_optimiser(parts.task, config.optim),
        parts.batches,
        steps=30,
        rate=spoil,
        graph=True,
        log_every=20,
    )
    with pytest.raises(NotFinite, match="at step 9"):
        loop.run()
    for now, then in zip(parts.task.student.parameters(), kept, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0, equal_nan=True)


@pytest.mark.gpu
@needs_gpu
def test_a_recorded_run_goes_on_where_it_stopped(
    settings: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    whole = run(settings, tmp_path / "whole")
    config = settings(steps=14, device="cuda", precision="fp32", log_every=2, checkpoint_every=5)
    execute(parse(RunConfig, config, where="here"), tmp_path / "again")
    for name in ("summary.json",):
        (tmp_path / "again" / name).unlink()
    (tmp_path / "again" / "checkpoints" / "step-00000014.pt").unlink(missing_ok=True)
    execute(parse(RunConfig, config, where="here"), tmp_path / "again", resume=True)
    lines = [json.loads(line) for line in (tmp_path / "again" / "metrics.jsonl").read_text().splitlines()]
    again = [line for line in lines if "lr" in line]
    assert [line["step"] for line in again] == [line["step"] for line in whole]
    assert again[-1]["loss"] == pytest.approx(whole[-1]["loss"], rel=2e-2, abs=1e-4)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("graph", [True, False], ids=["recorded", "as it is"])
@pytest.mark.parametrize(
    "more",
    [
        {"losses": [], "teachers": {}},
        {"losses": ["relative_teacher", "hard_darkrank"]},
        {"losses": ["similarity_kl"], "augment": {"num_views": 2, "flip": 0.5}},
        {"losses": [], "teachers": {}, "s2sd": {"dims": [8, 12]}, "ema": 0.9, "optim": {"clip": 1.0}},
    ],
    ids=["labels", "live", "kept", "s2sd"],
)
def test_nothing_between_two_log_lines_waits_for_the_device(
    settings: Callable[..., dict[str, Any]], taught: Path, more: dict[str, Any], graph: bool
) -> None:
    more = {"teachers": {"main": str(taught / "teacher" / "model")}, **more}
    config = parse(RunConfig, settings(steps=40, device="cuda", **more), where="here")
    parts = assemble(config, Workshop(), Reporter(quiet=True))

    def watch(step: int) -> float:
        torch.cuda.set_sync_debug_mode("error" if 6 <= step < 39 else "default")
        return 1.0

    loop = Loop(
        parts.task,
        build_optimiser(parts.task, config.optim),
        parts.batches,
        steps=40,
        rate=watch,
        clip=config.optim.clip,
        graph=graph,
        log_every=40,
        checkpoint_every=40,
    )
    try:
        loop.run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loop.step == 40
