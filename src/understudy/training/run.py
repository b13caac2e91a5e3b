"""One run: from a configuration to a run directory with a trained student in it."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from understudy._version import __version__
from understudy.config import RunConfig
from understudy.files import write_json
from understudy.models import count_macs, count_parameters, model_card, save_artefact
from understudy.training.assemble import Parts, assemble
from understudy.training.caching import normalises_by_batch
from understudy.training.capture import why_not
from understudy.training.compiling import Compilation, compiles
from understudy.training.device import find_device, hardware, working_on
from understudy.training.directory.card import provenance
from understudy.training.directory.claiming import Claim, begun_by_this_launch
from understudy.training.directory.records import Records
from understudy.training.directory.results import Run, read_run
from understudy.training.guard import Diverged, NotFinite
from understudy.training.loop import Loop
from understudy.training.oom import naming_memory
from understudy.training.optim import build_optimiser, rate_factor
from understudy.training.processes import distributed
from understudy.training.progress import Reporter
from understudy.training.signals import listening
from understudy.training.without_effect import without_effect
from understudy.training.workshop import Workshop


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
        resume: Go on from the last checkpoint in ``out``, or return the run that is finished there; what
            ``torchrun`` has begun and starts anew does so unasked.
        workshop: Holds what several runs share; default: one of its own.
        reporter: Told about the progress.

    Returns:
        The finished run.

    Raises:
        UserError: ``out`` holds another run, or another process is at work on this one; something in the
            configuration cannot be done, or the memory ran out.
        NotFinite: A loss became NaN or infinite; the last good checkpoint is kept.
        Stopped: SIGINT or SIGTERM came; a checkpoint is written if a step was taken.
        LostProcess: Another process of the run has ended.
    """
    with distributed.launched():
        if reporter is None or not distributed.is_writer():
            reporter = Reporter(None if distributed.is_writer() else io.StringIO(), quiet=True)
        out = Path(out)
        resume = resume or distributed.once(lambda: begun_by_this_launch(out))
        with naming_memory(config, out), Claim(config, out, resume) as claiming:
            finished = distributed.once(lambda: read_run(out) if (out / "summary.json").is_file() else None)
            return finished or _execute(config, out, resume, workshop or Workshop(), reporter, claiming)


def _execute(
    config: RunConfig, out: Path, resume: bool, workshop: Workshop, reporter: Reporter, claiming: Claim
) -> Run:
    started = time.monotonic()
    with working_on(find_device(config.device)), reporter, listening() as stop:
        stop.leave("before the first step")
        parts = assemble(config, workshop, reporter, out=out, claim=claiming)
        stop.leave(None)
        claiming()  # only now, so that a mistake leaves nothing behind
        records = Records(config, parts, out, reporter, started=started)
        for sentence in without_effect(config, parts.steps):
            reporter.say(sentence)
        loop = _loop(config, parts, records, reporter)
        state = records.last_state() if resume else None
        if not distributed.is_writer():  # dropout of its own; what it drew before, the state knows
            torch.manual_seed(config.seed + distributed.rank() * 1_000_003 + (state["step"] if state else 0))
        if state is not None:
            loop.load_state(state)
            reporter.say(f"going on from step {loop.step} of {loop.steps}{_others(state)}")
        records.rewind(loop.step)
        if config.accumulate > 1 and normalises_by_batch(parts.task.student.train()):
            reporter.say(
                f"batch normalisation sees each of the {config.accumulate} pieces of a batch by itself; "
                "set student.freeze_bn for the gradient of the whole batch"
            )
        reporter.start("train", total=loop.steps)
        try:
            loop.run(stop)
        except NotFinite as error:
            cure = "lower optim.lr or set optim.clip; the last good checkpoint is in "
            raise Diverged(str(error), f"{cure}{str(out / 'checkpoints')!r}") from None
        stop.leave("after the last step, before the figures were written")
        return _finish(config, parts, records, out)


def _others(state: Mapping[str, Any]) -> str:
    """What to say where another number of processes wrote a checkpoint."""
    then, now = len(state["processes"]), distributed.world()
    if then == now:
        return ""
    return (
        f" with {now} process{'es' * (now > 1)} instead of {then}: batches, views and draws stay the same; "
        "dropout and what batch normalisation sees do not"
    )


def _loop(config: RunConfig, parts: Parts, records: Records, reporter: Reporter) -> Loop:
    device = next(parts.task.parameters()).device
    obstacle = why_not(device, pieces=config.accumulate, task=parts.task)
    if config.cuda_graph == "auto" and device.type == "cuda" and obstacle is not None:
        reporter.say(f"the step is not recorded as a CUDA graph: {obstacle}")
    pixels = float(parts.steps * parts.batch_size) * math.prod(parts.task.student.preprocessing.size)
    compiled, sentence = compiles(config.compile, parts.task, device, pixels)
    if sentence is not None:
        reporter.say(sentence)
    return Loop(
        parts.task,
        build_optimiser(parts.task, config.optim),
        parts.batches,
        steps=parts.steps,
        rate=lambda step: rate_factor(config.schedule, step, parts.steps),
        clip=config.optim.clip,
        pieces=config.accumulate,
        graph=config.cuda_graph == "auto" and obstacle is None,
        compilation=Compilation(parts.task, reporter.say) if compiled else None,
        average=records.average,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        evaluate_every=config.evaluation.every or (parts.steps if records.best.wanted else 0),
        on_log=records.log,
        on_checkpoint=records.checkpoint,
        on_evaluate=records.evaluate,
    )


def _finish(config: RunConfig, parts: Parts, records: Records, out: Path) -> Run:
    student = records.model
    records.best.restore([student, *parts.beside()])
    report = parts.evaluate(student, parts.final_split)
    device = next(student.parameters()).device
    questions = parts.questions.counts()

    def write() -> None:
        summary = {
            "version": __version__,
            "split": parts.final_split,
            "metrics": report.metrics,
            "counts": report.counts,
            "parameters": count_parameters(student),
            "macs": count_macs(student),
            "steps": parts.steps,
            "batch_size": parts.batch_size,
            "images": parts.images,
            "teacher_queries": questions,
            "seconds": round(records.seconds, 1),
            "torch": torch.__version__,
            "device": str(device),
            "hardware": hardware(device),
            "processes": distributed.world(),
        }
        parts.keep_classifier(student)
        text = provenance(config, summary, parts.task.terms)
        card = model_card(student, text=text, metrics=report.metrics)
        save_artefact(student, out / "model", card=card, metrics=report.metrics, overwrite=True)
        write_json(out / "summary.json", summary)

    distributed.once(write)
    return Run(out, dict(report.metrics))
