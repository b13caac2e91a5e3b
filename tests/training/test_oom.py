"""Memory that runs out anywhere in a run is one sentence with the setting that helps just there."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data import Pixels
from understudy.data.lines import Lines
from understudy.errors import UserError
from understudy.models.embedder import Embedder
from understudy.teachers import LiveTeacher
from understudy.training.capture import CapturedStep
from understudy.training.objective.terms import DistillationTerm
from understudy.training.oom import naming_memory
from understudy.training.processes.distributed import LostProcess, talking
from understudy.training.ran_out import ran_out
from understudy.training.run import execute

Settings = Callable[..., dict[str, Any]]
HELD: list[weakref.ref[torch.Tensor]] = []


def too_much(*_: object, **__: object) -> NoReturn:
    """A real failure of the allocator."""
    large = torch.zeros(8)
    HELD.append(weakref.ref(large))
    torch.empty(2**60, dtype=torch.uint8)
    raise AssertionError("this machine has a great deal of memory")


def broken(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("shapes do not match")


def in_training(real: Callable[..., Any]) -> Callable[..., Any]:
    """Asks for too much in a student's fourth forward pass; a teacher is never in training mode."""
    failing = after(3, real)
    return lambda model, *given: failing(model, *given) if model.training else real(model, *given)


def after(count: int, real: Callable[..., Any]) -> Callable[..., Any]:
    """Works so many times, then asks for too much."""
    left = iter(range(count))

    def call(*args: Any, **kwargs: Any) -> Any:
        return too_much() if next(left, None) is None else real(*args, **kwargs)

    return call


@pytest.fixture
def config(settings: Settings, taught: Path) -> RunConfig:
    value = settings(
        teachers={"main": str(taught / "teacher" / "model")},
        losses=["similarity_kl"],
        augment={"flip": 0.5},
        checkpoint_every=2,
        evaluation={"every": 4},
    )
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


BATCH = "sampler.batch_size (128)"
PIECES = "raise accumulate to 2, which computes the batch in pieces"
PLACES: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "student": (
        lambda patch: patch.setattr(Embedder, "forward", in_training(Embedder.forward)),
        f"memory ran out at step 3 in the student: {PIECES}, or lower {BATCH} or student.input_size; ",
    ),
    "backward": (
        lambda patch: patch.setattr(torch.Tensor, "backward", after(3, torch.Tensor.backward)),
        f"memory ran out at step 3 in the student: {PIECES}",
    ),
    "teacher": (
        lambda patch: patch.setattr(LiveTeacher, "outputs", after(3, LiveTeacher.outputs)),
        f"at step 3 in the teacher 'main': {PIECES}, or store its vectors with `understudy embed` and pass",
    ),
    "loss": (
        lambda patch: patch.setattr(DistillationTerm, "forward", after(3, DistillationTerm.forward)),
        f"memory ran out at step 3 in the losses: lower {BATCH}, or the list_length or mixes of a loss",
    ),
    "evaluation": (
        lambda patch: patch.setattr(Embedder, "prepare", after(8, Embedder.prepare)),
        "memory ran out at step 4 in the evaluation: lower evaluation.batch_size (256); the last checkpoint",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_sentence_names_the_part_and_its_setting(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    patch, expected = PLACES[place]
    patch(monkeypatch)
    with pytest.raises(UserError) as caught:
        execute(config, tmp_path / "run")
    assert str(caught.value).startswith("the computer's memory ran out")
    assert expected in str(caught.value)
    assert str(caught.value).endswith(
        f"the last checkpoint is in {str(tmp_path / 'run' / 'checkpoints')!r} (train and distill go on with "
        "--resume)"
    )
    assert HELD[-1]() is None  # no frame of the error holds a tensor
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002.pt"]


def test_what_the_sentence_advises_can_be_done_and_the_run_goes_on(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(UserError, match="raise accumulate to 2"):
        patch.setattr(DistillationTerm, "forward", after(3, DistillationTerm.forward))
        patch.setattr(Embedder, "forward", in_training(Embedder.forward))
        execute(config, tmp_path / "run")
    other = config.model_copy(update={"accumulate": 2})
    run = execute(other, tmp_path / "run", resume=True)
    assert run.metrics
    assert "\naccumulate: 2\n" in (run.path / "config.yaml").read_text()


def test_images_and_answers_have_settings_of_their_own(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr("understudy.data.decoding.decode", too_much)
        execute(config, tmp_path / "run")
    assert str(caught.value) == (
        "the computer's memory ran out while images were decoded: choose a smaller data.resize, or pack the "
        "images; no checkpoint was written yet"
    )
    assert list(tmp_path.iterdir()) == []
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught, naming_memory(config, tmp_path):
        patch.setattr(Lines, "_taken", too_much)
        pixels = Pixels(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.arange(2))
        Pixels(pixels._lines, torch.arange(2), torch.arange(2)).to("cpu", "always")
    assert "while images were copied to it: set data.resident to 'never', which streams them" in str(
        caught.value
    )
    clean = config.model_copy(update={"augment": None})
    clean = parse(RunConfig, {**clean.model_dump(mode="json"), "augment": {"flip": 0.0}}, where="test")
    with (
        monkeypatch.context() as patch,
        pytest.raises(UserError, match="while the teacher was asked about every"),
    ):
        patch.setattr(LiveTeacher, "outputs", too_much)
        execute(clean, tmp_path / "run")


def test_a_recorded_step_can_be_turned_off(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving a half-recorded graph raises an error of its own, behind which the true one stands."""

    class Recorded(CapturedStep):
        def __init__(self) -> None:
            self._task = self._inside = None  # type: ignore[assignment]

    def fails(*_: object) -> Any:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    monkeypatch.setattr("understudy.training.capture.taught_outside", fails)
    step: Any = Recorded()
    with pytest.raises(UserError) as caught, naming_memory(config, tmp_path):
        step(None)
    assert str(caught.value).startswith(
        "the GPU's memory ran out: set cuda_graph to 'off' (a recorded step holds memory of its own), or "
    )


def test_a_command_without_a_run_names_its_option(
    command: Callable[..., Any], taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Embedder, "prepare", too_much)
    model = taught / "teacher" / "model"
    embedded = command("embed", model, taught / "images", "--out", tmp_path / "table")
    measured = command("evaluate", model, taught / "images")
    for done in (embedded, measured):
        assert done.status == 2, done
        assert done.err.splitlines()[-1] == (
            "error: the memory ran out: pass a smaller --batch-size (embed, evaluate)"
        )
    monkeypatch.setattr(Embedder, "prepare", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        command("evaluate", model, taught / "images")


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes"), KeyboardInterrupt()])
def test_every_other_error_passes_as_it_is(config: RunConfig, tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, naming_memory(config, tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_s_own_error_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8, device="cuda")
    assert ran_out(caught.value)


def test_memory_that_runs_out_in_an_exchange_is_no_lost_process() -> None:
    """NCCL takes memory of its own and says in its own words that there is none."""
    with pytest.raises(RuntimeError, match="out of memory"), talking():
        raise RuntimeError("NCCL Error 1: unhandled cuda error: Failed to CUDA malloc: 'out of memory'")
    with pytest.raises(LostProcess), talking():
        raise RuntimeError("Connection closed by peer")
