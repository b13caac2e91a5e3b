"""One training by two processes on gloo: what it ends with, and how it ends when one of them cannot go on."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from safetensors.torch import load_file
from torch import Tensor

from understudy import locking
from understudy.config import RunConfig, parse
from understudy.data import Pixels
from understudy.data.batches import Batch
from understudy.errors import UserError
from understudy.evaluation import embed_pixels
from understudy.evaluation.plans import Plan
from understudy.models import build_embedder
from understudy.training import run as run_module
from understudy.training.capture import CapturedStep
from understudy.training.compiling import Compilation
from understudy.training.directory import records
from understudy.training.directory.claiming import only_writer
from understudy.training.directory.results import read_run
from understudy.training.processes import distributed
from understudy.training.processes.distributed import LostProcess
from understudy.training.processes.together import embed_together
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.signals import Stopped
from understudy.training.task import Task
from understudy.verbs import evaluate

Settings = Callable[..., dict[str, Any]]
Work = Callable[[dict[str, Any], Path], None]

STEPS = 6


@pytest.fixture
def pair() -> Callable[..., list[int | None]]:
    """Runs a function of this module in two processes as ``torchrun`` starts them, and says how each ended.

    They are forked from a process that has imported the package and done nothing else: the seconds that
    imports take are spent once.
    """
    store: Any = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]

    def run(work: Work, value: dict[str, Any], place: Path) -> list[int | None]:
        multiprocessing.set_forkserver_preload([__name__, "torch._dynamo", "understudy.training.run"])
        context = multiprocessing.get_context("forkserver")
        processes = [
            context.Process(target=_as_rank, args=(rank, store.port, work, value, place)) for rank in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
        return [process.exitcode for process in processes]

    return run


def _as_rank(rank: int, port: int, work: Work, value: dict[str, Any], place: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    torch.set_num_threads(1)
    work(value, place)


def note(place: Path, **found: Any) -> None:
    file = place / f"rank-{distributed.rank()}.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**known, **found}))


def notes(place: Path) -> list[dict[str, Any]]:
    return [json.loads((place / f"rank-{rank}.json").read_text()) for rank in range(2)]


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


def lines(run: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_second"} for line in read]


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


@pytest.fixture
def frozen(settings: Settings, taught: Path) -> dict[str, Any]:
    """Every kind of loss, a teacher whose answers are kept, odd shares; no statistics of a batch."""
    value = settings(
        teachers={"main": str(taught / "teacher" / "model")},
        supervised=["multi_similarity", "cross_entropy"],
        losses=["similarity_kl", {"name": "absolute_teacher", "weight": 0.1}],
        augment={"flip": 0.5, "num_views": 2},
        sampler={"batch_size": 10, "images_per_class": 2},
        optim={"name": "sgd", "lr": 0.05},
        evaluation={"every": 3, "batch_size": 4},
        steps=STEPS,
        log_every=1,
        device="cpu",
    )
    value["student"] = {**value["student"], "freeze_bn": True}
    return value


class _Asking:
    """Stands for `listening`: a stop is asked for once so many steps are taken."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def leave(self, outside: str | None) -> None:
        pass

    @property
    def signal(self) -> str | None:
        self.left -= 1
        return "SIGTERM" if self.left == 0 else None


def _equal_to_one(value: dict[str, Any], place: Path) -> None:
    with distributed.launched():
        run = execute(config(value), place / "two")
        pixels = Pixels(torch.arange(10 * 256).view(10, 1, 16, 16).to(torch.uint8), torch.arange(10))
        torch.manual_seed(0)
        model = build_embedder({"backbone": "smallconv_8", "dim": 4, "input_size": (16, 16)})
        rows = torch.tensor([3, 1, 4, 5, 9, 2, 6, 0, 7])
        few = [bool((_both(model, pixels, rows[:count])).all()) for count in (1, 4, 9)]
        note(place, metrics=run.metrics, few=few, share=list(distributed.share(5)))


def _both(model: Any, pixels: Pixels, rows: Tensor) -> Tensor:
    return embed_together(model, pixels, rows, batch_size=4) == embed_pixels(
        model, pixels, rows, batch_size=4
    )


@pytest.mark.slow
def test_two_processes_end_where_one_does(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    assert pair(_equal_to_one, frozen, tmp_path) == [0, 0]
    one = execute(config(frozen), tmp_path / "one")
    first, second = notes(tmp_path)
    assert first["metrics"] == second["metrics"] == read_run(tmp_path / "two").metrics
    assert first["few"] == second["few"] == [True, True, True]  # more processes than batches, as many, fewer
    assert [first["share"], second["share"]] == [[0, 1, 2], [3, 4]]
    assert one.metrics == pytest.approx(first["metrics"], abs=1e-6)
    ours, theirs = lines(tmp_path / "two"), lines(one.path)
    assert len(ours) == len(theirs) == STEPS + 2
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=1e-4, abs=1e-5)
    for name, weight in weights(one.path).items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], weight, atol=1e-5, rtol=1e-4)
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert summary["processes"] == 2
    assert summary["batch_size"] == 10


def _stopped_and_resumed(value: dict[str, Any], place: Path) -> None:
    """Batch statistics differ from process to process, dropout too; one process alone is asked to stop."""
    digests: list[str] = []
    plain = records.Records.checkpoint

    def remember(self: records.Records, step: int, state: dict[str, Any]) -> None:
        flat = torch.cat([v.double().flatten() for v in state["task"].values()])
        digests.append(hashlib.sha256(flat.numpy().tobytes()).hexdigest())
        plain(self, step, state)

    with distributed.launched(), patch.object(records.Records, "checkpoint", remember):
        execute(config(value), place / "whole")
        at = 3 if distributed.rank() == 1 else 99
        with patch.object(run_module, "listening", lambda: _Asking(at)), pytest.raises(Stopped) as stopped:
            execute(config(value), place / "stopped")
        torch.manual_seed(distributed.rank())
        execute(config(value), place / "stopped", resume=True)
        note(place, said=str(stopped.value), digests=digests, drawn=float(torch.rand(1)))


@pytest.mark.slow
def test_processes_stop_together_and_resume_to_the_same_bits(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    value = {**frozen, "ema": 0.9, "checkpoint_every": 2, "evaluation": {"every": 2, "keep": "best"}}
    value["student"] = {**frozen["student"], "freeze_bn": False}
    assert pair(_stopped_and_resumed, value, tmp_path) == [0, 0]
    first, second = notes(tmp_path)
    assert first["said"] == second["said"] == f"stopped by SIGTERM after step 4 of {STEPS}"
    assert first["digests"] == second["digests"]  # every process holds the same model
    assert len(set(first["digests"])) == 3
    assert first["drawn"] != second["drawn"]  # and draws random numbers of its own
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    assert read_run(tmp_path / "stopped").metrics == read_run(tmp_path / "whole").metrics
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "stopped")[name], weight), name


def _without_a_compiler(value: dict[str, Any], place: Path) -> None:
    def broken(_module: object, _inputs: object) -> Callable[..., Any]:
        raise RuntimeError("no kernel today")

    said: list[str] = []
    with distributed.launched(), patch.object(Reporter, "say", lambda _, sentence: said.append(sentence)):
        execute(config({**value, "compile": "off"}), place / "plain")
        with patch.object(run_module, "Compilation", functools.partial(Compilation, backend=broken)):  # type: ignore[arg-type]
            execute(config({**value, "compile": "on"}), place / "fallen back", reporter=Reporter())
        note(place, said=said)


@pytest.mark.slow
def test_a_compiler_that_fails_everywhere_is_left_out_everywhere(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    assert pair(_without_a_compiler, frozen, tmp_path) == [0, 0]
    for found in notes(tmp_path):
        assert sum("no kernel today" in sentence for sentence in found["said"]) == 1
    for name, weight in weights(tmp_path / "plain").items():
        assert torch.equal(weights(tmp_path / "fallen back")[name], weight), name


def _stopped_by_two_and_by_one(value: dict[str, Any], place: Path) -> None:
    with distributed.launched():
        with patch.object(run_module, "listening", lambda: _Asking(3)), pytest.raises(Stopped):
            execute(config(value), place / "shrinks")
        execute(config(value), place / "grows", resume=True)
        note(place, drawn=float(torch.rand(1)))


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_or_more_processes(
    pair: Callable[..., list[int | None]],
    frozen: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Stopped between two lines of the log: what was summed up so far is the mean over the processes."""
    value = {**frozen, "log_every": 6, "evaluation": {}}
    with patch.object(run_module, "listening", lambda: _Asking(3)), pytest.raises(Stopped):
        execute(config(value), tmp_path / "grows")
    assert pair(_stopped_by_two_and_by_one, value, tmp_path) == [0, 0]
    kept = torch.load(tmp_path / "shrinks" / "checkpoints" / "step-00000004.pt")["loop"]
    one, other = (process["sums"] for process in kept["processes"])
    assert one["loss"] != other["loss"], "the processes would have summed up the same"
    execute(config(value), tmp_path / "shrinks", resume=True, reporter=Reporter())
    said = capsys.readouterr().err
    assert "going on from step 4 of 6 with 1 process instead of 2: batches, views and draws stay" in said
    execute(config(value), tmp_path / "whole")
    first, second = notes(tmp_path)
    assert first["drawn"] != second["drawn"]
    for name in ("shrinks", "grows"):
        for mine, other_line in zip(lines(tmp_path / name), lines(tmp_path / "whole"), strict=True):
            assert mine == pytest.approx(other_line, rel=1e-4, abs=1e-5)
        for key, weight in weights(tmp_path / "whole").items():
            torch.testing.assert_close(weights(tmp_path / name)[key], weight, atol=1e-5, rtol=1e-4)


def _failing(value: dict[str, Any], place: Path) -> None:
    forward = Task.forward

    def poisoned(self: Task, batch: Batch, *more: Any) -> dict[str, Tensor]:
        parts = forward(self, batch, *more)
        if batch.step == 2 and distributed.rank() == 1:
            parts["loss"] = parts["loss"] * torch.nan
            parts["cross_entropy"] = parts["cross_entropy"] * torch.nan
        return parts

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with distributed.launched():
        with patch.object(Task, "forward", poisoned), pytest.raises(UserError) as nan:
            execute(config(value), place / "nan")
        sync = os.fsync if distributed.rank() == 1 else full
        with patch.object(os, "fsync", sync), pytest.raises(UserError) as disk:
            execute(config(value), place / "full")
        with pytest.raises(UserError) as small:
            batch = {"batch_size": 1, "images_per_class": 1, "kind": "unlabelled"}
            execute(config({**value, "sampler": batch, "supervised": []}), place / "small")
        with pytest.raises(UserError) as sync_bn:
            execute(config({**value, "sync_bn": True}), place / "sync")
        with contextlib.ExitStack() as other, patch.object(locking, "_PATIENCE", 0.0):
            if distributed.rank() == 1:
                (place / "held").mkdir()
                other.enter_context(only_writer(place / "held"))
            distributed.barrier()
            with pytest.raises(UserError) as held:
                execute(config(value), place / "held")
        note(place, said=[str(error.value) for error in (nan, disk, small, sync_bn, held)])
        if distributed.rank() == 1:
            os._exit(3)  # as a process that was killed
        with pytest.raises(LostProcess, match="another process of this run has ended"):
            execute(config(value), place / "alone")
        note(place, lost=distributed.first_to_say("lost", of_all=True), again=distributed.first_to_say("x"))


@pytest.mark.slow
def test_what_one_process_cannot_do_ends_all_with_one_sentence(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    assert pair(_failing, {**frozen, "checkpoint_every": 1, "evaluation": {}}, tmp_path) == [0, 3]
    first, second = notes(tmp_path)
    assert first["said"] == second["said"]
    nan, disk, small, sync_bn, held = first["said"]
    assert nan.startswith("the loss part 'cross_entropy' became nan at step 2: lower optim.lr")
    assert (tmp_path / "nan" / "checkpoints" / "step-00000002.pt").is_file()
    assert "no space left while writing" in disk
    assert small.startswith("batches of 1 images cannot be shared by 2 processes: raise sampler.batch_size")
    assert sync_bn.startswith("sync_bn needs GPUs")
    assert "is at work on the run in" in held
    assert first["lost"]  # nobody else could say why
    assert not (tmp_path / "alone").exists()


def _commands(value: dict[str, Any], place: Path) -> None:
    from understudy.cli import main

    file = place / "run.yaml"
    statuses = []
    with contextlib.ExitStack() as stack:
        out = stack.enter_context((place / f"out-{os.environ['RANK']}").open("w"))
        err = stack.enter_context((place / f"err-{os.environ['RANK']}").open("w"))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        for words in (
            ["train", place / "none.yaml"],  # a mistake of all
            ["compare", "demo"],
            ["train", file, "--out", place / "two", "--nosuch"],
            ["train", file, "--out", place / "two"],
            [
                "evaluate",
                place / "two" / "model",
                value["images"],
                "--batch-size",
                4,
                "--out",
                place / "report",
            ],
        ):
            sys.argv = ["understudy", *map(str, words)]
            with contextlib.ExitStack() as alone:
                if words[0] == "evaluate" and os.environ["RANK"] == "1":  # which computes no figures
                    alone.enter_context(patch.object(Plan, "measure", _raises))
                try:
                    main()
                    statuses.append(0)
                except SystemExit as end:
                    statuses.append(int(end.code or 0))
        sys.argv = ["understudy", "train", str(file), "--out", str(place / "three")]
        with contextlib.ExitStack() as fault:
            if os.environ["RANK"] == "1":  # a mistake of one, while the other waits
                fault.enter_context(patch.object(run_module, "assemble", _raises))
            with pytest.raises(SystemExit) as ended:
                main()
        statuses.append(int(ended.value.code or 0))
    (place / f"rank-{os.environ['RANK']}.json").write_text(json.dumps({"statuses": statuses}))


def _raises(*_: object, **__: object) -> None:
    raise UserError("the file of one process has vanished: bring it back")


@pytest.mark.slow
def test_commands_speak_with_one_voice(
    pair: Callable[..., list[int | None]], settings: Settings, taught: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings(steps=2, device="cpu")))
    images = taught / "images"
    assert pair(_commands, {"images": str(images)}, tmp_path) == [0, 0]
    assert [found["statuses"] for found in notes(tmp_path)] == [[2, 2, 2, 0, 0, 1], [2, 2, 2, 0, 0, 2]]
    first, second = ((tmp_path / f"out-{rank}").read_text() for rank in range(2))
    assert f"model: {tmp_path / 'two' / 'model'}" in first
    assert second == ""
    alone = evaluate(tmp_path / "two" / "model", images, device="cpu", batch_size=4)
    assert json.loads((tmp_path / "report").read_text())["metrics"] == alone.metrics
    assert alone.counts["queries"] == 48
    said = [line for rank in range(2) for line in (tmp_path / f"err-{rank}").read_text().splitlines()]
    voices = ("none.yaml", "`understudy compare` is work for one", "--nosuch", "one process has vanished")
    assert [sum(voice in line for line in said) for voice in voices] == [1, 1, 1, 1]
    assert sum("batches hold" in line for line in said) == 2
    assert not any("another process" in line for line in said)


def _up_to(value: dict[str, Any], place: Path) -> None:
    resolved = config(yaml.safe_load((place / "killed" / "config.yaml").read_text()))
    with patch.object(run_module, "listening", lambda: _Asking(value["step"] - 1)), pytest.raises(Stopped):
        execute(resolved, place / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
def test_torchrun_starts_a_killed_process_anew_and_stops_all_on_sigterm(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    value = {**frozen, "steps": 100_000, "checkpoint_every": 5, "log_every": 5, "evaluation": {}}
    file, out, said = tmp_path / "run.yaml", tmp_path / "killed", tmp_path / "said"
    file.write_text(yaml.safe_dump(value))
    words = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "-m", "understudy", "distill"]
    with (
        said.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words, str(file), "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=stream,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as torchrun,
    ):
        wait_for(lambda: list(out.glob("checkpoints/step-*.pt")), torchrun)
        children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[1]), signal.SIGKILL)
        wait_for(lambda: "going on from step" in said.read_text(), torchrun)
        old = set(out.glob("checkpoints/step-*.pt"))
        wait_for(lambda: set(out.glob("checkpoints/step-*.pt")) - old, torchrun)
        torchrun.send_signal(signal.SIGTERM)
        torchrun.wait(240)
    text = said.read_text()
    stopped = re.findall(r"^stopped by SIGTERM after step (\d+) of 100000: ", text, re.MULTILINE)
    assert len(stopped) == 1
    assert pair(_up_to, {"step": int(stopped[0])}, tmp_path) == [0, 0]
    name = f"checkpoints/step-{int(stopped[0]):08d}.pt"
    theirs, ours = (torch.load(run / name)["loop"] for run in (tmp_path / "whole", out))
    assert ours["step"] == theirs["step"]
    for key in ("task", "optimiser", "processes"):
        assert_same(ours[key], theirs[key])
    assert lines(out) == lines(tmp_path / "whole")


def assert_same(ours: Any, theirs: Any) -> None:
    """The same to the bit, all the way down."""
    if isinstance(ours, Tensor):
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        assert_same(list(ours.values()), list(theirs.values()))
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    else:
        assert ours == theirs


def wait_for(something: Callable[[], object], torchrun: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 400
    while not something():
        assert torchrun.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _on_gpus(value: dict[str, Any], place: Path) -> None:
    """Recorded and not, with the statistics of all rows, and stopped while recorded."""
    recorded: list[int] = []
    plain = CapturedStep._record

    def remember(self: CapturedStep, *given: Any) -> None:
        recorded.append(1)
        plain(self, *given)

    unfrozen = {**value, "student": {**value["student"], "freeze_bn": False}, "sync_bn": True}
    torch.backends.cudnn.allow_tf32 = False  # as the run beside it; 1e-3 in a convolution grows to 1e-1 here
    with distributed.launched(), patch.object(CapturedStep, "_record", remember):
        execute(config(value), place / "recorded")
        execute(config({**value, "cuda_graph": "off"}), place / "plain")
        execute(config(unfrozen), place / "synchronised")
        with patch.object(run_module, "listening", lambda: _Asking(8)), pytest.raises(Stopped):
            execute(config(value), place / "stopped")
        execute(config(value), place / "stopped", resume=True)
        note(place, recorded=len(recorded), device=str(torch.cuda.current_device()))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_record_their_messages_and_end_where_one_does(
    pair: Callable[..., list[int | None]], frozen: dict[str, Any], tmp_path: Path
) -> None:
    value = {**frozen, "device": "auto", "precision": "fp32", "steps": 16, "compile": "off"}
    assert pair(_on_gpus, value, tmp_path) == [0, 0]
    assert [(found["recorded"], found["device"]) for found in notes(tmp_path)] == [(4, "0"), (4, "1")]
    unfrozen = {**value, "student": {**value["student"], "freeze_bn": False}}
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        one = execute(config(value), tmp_path / "one")
        whole = execute(config(unfrozen), tmp_path / "whole")
    pairs = [("recorded", one), ("plain", one), ("stopped", one), ("synchronised", whole)]
    for name, run in pairs:
        losses = [
            [line["loss"] for line in lines(path) if "loss" in line] for path in (tmp_path / name, run.path)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-2), name


def test_a_launcher_that_set_half_of_what_it_should_is_one_sentence(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"WORLD_SIZE is 2 and the rest is missing .*torchrun"):
        execute(config(settings()), tmp_path / "run")


def test_a_process_alone_is_all_there_is() -> None:
    assert distributed.share(7) == range(7)
    assert distributed.gather_objects({"a": 1}) == [{"a": 1}]
    assert distributed.broadcast_object(np.float64(2.0)) == 2.0
    assert distributed.first_to_say("hello")
    distributed.barrier()
    with pytest.raises(UserError, match="mine"):
        distributed.once(lambda: (_ for _ in ()).throw(UserError("mine")))
