"""One run: from a configuration to a run directory with a trained student in it."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from understudy._version import __version__
from understudy.config import RunConfig, first_difference, read_yaml, to_yaml
from understudy.errors import UserError
from understudy.files import atomic_directory, write_json
from understudy.models import count_macs, count_parameters, load, model_card, save_artefact
from understudy.models.embedder import Embedder
from understudy.training import distributed
from understudy.training.assemble import Parts, assemble
from understudy.training.best import Best
from understudy.training.caching import normalises_by_batch
from understudy.training.capture import why_not
from understudy.training.card import provenance
from understudy.training.checkpoint import latest_checkpoint, save_checkpoint
from understudy.training.device import hardware
from understudy.training.ema import MovingAverage
from understudy.training.guard import NotFinite
from understudy.training.journal import Journal
from understudy.training.loop import Loop
from understudy.training.optim import build_optimiser, rate_factor
from understudy.training.progress import Reporter
from understudy.training.signals import listening
from understudy.training.workshop import Workshop


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its directory.
        metrics: The final figures, as fractions, on the split that the configuration names.
    """

    path: Path
    metrics: dict[str, float]

    @cached_property
    def model(self) -> Embedder:
        """The trained student, as saved."""
        return load(self.path / "model")


def execute(
    config: RunConfig,
    out: str | Path,
    *,
    resume: bool = False,
    workshop: Workshop | None = None,
    reporter: Reporter | None = None,
) -> Run:
    """Trains as the configuration says and writes the run directory.

    Args:
        config: What to do.
        out: The run directory: ``config.yaml``, ``metrics.jsonl``, ``checkpoints/``, ``model/``,
            ``summary.json``.
        resume: Go on from the last checkpoint in ``out``, or return the run that is finished there.
        workshop: Holds what several runs share; default: one of its own.
        reporter: Told about the progress.

    Returns:
        The finished run.

    Raises:
        UserError: ``out`` holds another run, or something in the configuration cannot be done.
        NotFinite: A loss became NaN or infinite; the last good checkpoint is kept.
        Stopped: SIGINT or SIGTERM came; a checkpoint is written if a step was taken.
    """
    out = Path(out)
    workshop = workshop or Workshop()
    reporter = reporter or Reporter(quiet=True)
    started = time.monotonic()
    _refuse_several_processes()
    fresh = _is_free(config, out, resume)
    if (out / "summary.json").is_file():
        return read_run(out)
    with reporter, listening() as stop:
        stop.patient = False
        parts = assemble(config, workshop, reporter)
        stop.patient = True
        _claim(config, out, fresh)  # only now, so that a mistake leaves nothing behind
        loop, best = _loop(config, parts, out, reporter)
        state = latest_checkpoint(out / "checkpoints", reporter.say) if resume else None
        if state is not None:
            loop.load_state(state["loop"])
            best.load_state(state["best"])
            parts.sampler.load_state_dict(state.get("sampler", {}))
            reporter.say(f"going on from step {loop.step} of {loop.steps}")
        Journal(out / "metrics.jsonl").rewind(loop.step)
        if config.accumulate > 1 and normalises_by_batch(parts.task.student.train()):
            reporter.say(
                f"batch normalisation sees each of the {config.accumulate} pieces of a batch by itself; "
                "set student.freeze_bn for the gradient of the whole batch"
            )
        reporter.start("train", total=loop.steps)
        try:
            loop.run(stop)
        except NotFinite as error:
            raise UserError(
                f"{error}: lower optim.lr or set optim.clip; the last good checkpoint is in "
                f"{str(out / 'checkpoints')!r}"
            ) from None
        return _finish(config, parts, loop, best, out, started)


def _refuse_several_processes() -> None:
    """The losses and samplers are ready for several processes; starting and stopping them together is not."""
    if distributed.world() > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "a run in several processes is not available in this version: start one process, and set "
            "`accumulate` for batches larger than the memory"
        )


def read_run(path: str | Path) -> Run:
    """A finished run from its directory.

    Raises:
        UserError: There is no finished run there.
    """
    path = Path(path)
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{str(path)!r} holds no finished run: it has no readable summary.json") from None
    if not isinstance(summary, dict) or "metrics" not in summary:
        raise UserError(f"{str(path / 'summary.json')!r} holds no metrics: run it again in another --out")
    return Run(path, summary["metrics"])


def _is_free(config: RunConfig, out: Path, resume: bool) -> bool:
    """Whether the run starts anew in ``out``; False when the run that is there is this very one."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    if not resume:
        raise UserError(f"{str(out)!r} exists already: pass another --out, or --resume to go on with it")
    file = out / "config.yaml"
    if not file.is_file():
        raise UserError(f"{str(out)!r} is not a run directory (it has no config.yaml): pass another --out")
    changed = first_difference(read_yaml(file), config.model_dump(mode="json"))
    if changed is not None:
        raise UserError(
            f"{str(out)!r} was started with another {changed!r}: pass the same settings to resume it, "
            "or another --out"
        )
    return False


def _claim(config: RunConfig, out: Path, fresh: bool) -> None:
    """Makes the run directory, or clears what a killed process left half-written in it."""
    if fresh:
        with atomic_directory(out, overwrite=True) as draft:
            header = f"# understudy {__version__}\n"
            (draft / "config.yaml").write_text(header + to_yaml(config), encoding="utf-8")
            (draft / "checkpoints").mkdir()
        return
    (out / "checkpoints").mkdir(exist_ok=True)
    for left in (*out.glob(".*.tmp"), *out.glob(".*.old"), *out.glob("checkpoints/.*.tmp")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _loop(config: RunConfig, parts: Parts, out: Path, reporter: Reporter) -> tuple[Loop, Best]:
    journal = Journal(out / "metrics.jsonl")
    best = Best(config.evaluation.keep == "best")
    average = MovingAverage(parts.task.student, config.ema) if config.ema else None
    writes = distributed.rank() == 0

    def on_log(step: int, means: dict[str, float], rate: float) -> None:
        if writes:
            lr = config.optim.lr * rate_factor(config.schedule, step - 1, parts.steps)
            line = {"step": step, "lr": lr, **means, "images_per_second": round(rate, 1)}
            journal.write(line)
            reporter.update(step, means, rate)

    def on_evaluate(step: int) -> None:
        model = parts.task.student if average is None else average.model
        report = parts.evaluate(model, "val")
        best.offer(next(iter(report.metrics.values())), [model, *parts.beside()])
        if writes:
            journal.write({"step": step, **{f"val/{name}": value for name, value in report.metrics.items()}})

    def on_checkpoint(step: int, state: dict[str, Any]) -> None:
        if writes:
            save_checkpoint(
                out / "checkpoints",
                step,
                {"loop": state, "best": best.state(), "sampler": parts.sampler.state_dict()},
                keep=config.keep_checkpoints,
            )

    device = next(parts.task.parameters()).device
    obstacle = why_not(device, pieces=config.accumulate, task=parts.task)
    if config.cuda_graph == "auto" and device.type == "cuda" and obstacle is not None:
        reporter.say(f"the step is not recorded as a CUDA graph: {obstacle}")
    loop = Loop(
        parts.task,
        build_optimiser(parts.task, config.optim),
        parts.batches,
        steps=parts.steps,
        rate=lambda step: rate_factor(config.schedule, step, parts.steps),
        clip=config.optim.clip,
        pieces=config.accumulate,
        graph=config.cuda_graph == "auto" and obstacle is None,
        average=average,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        evaluate_every=config.evaluation.every or (parts.steps if best.wanted else 0),
        on_log=on_log,
        on_checkpoint=on_checkpoint,
        on_evaluate=on_evaluate,
    )
    return loop, best


def _finish(config: RunConfig, parts: Parts, loop: Loop, best: Best, out: Path, started: float) -> Run:
    student = parts.task.student if loop.average is None else loop.average.model
    best.restore([student, *parts.beside()])
    report = parts.evaluate(student, parts.final_split)
    summary = {
        "version": __version__,
        "split": parts.final_split,
        "metrics": report.metrics,
        "counts": report.counts,
        "parameters": count_parameters(student),
        "macs": count_macs(student),
        "steps": loop.steps,
        "batch_size": parts.batch_size,
        "images": parts.images,
        "seconds": round(time.monotonic() - started, 1),
        "torch": torch.__version__,
        "device": str(next(student.parameters()).device),
        "hardware": hardware(next(student.parameters()).device),
    }
    if distributed.rank() == 0:
        parts.keep_classifier(student)
        save_artefact(
            student,
            out / "model",
            card=model_card(
                student, text=provenance(config, summary, parts.task.terms), metrics=report.metrics
            ),
            metrics=report.metrics,
            overwrite=True,
        )
        write_json(out / "summary.json", summary)
    return Run(out, dict(report.metrics))
