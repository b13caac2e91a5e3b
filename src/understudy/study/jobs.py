"""Runs of a study, one after another or several side by side; a finished run is never done again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from understudy.config import RunConfig, first_difference, parse, read_yaml
from understudy.errors import UserError
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.signals import Stopped, listening
from understudy.training.workshop import Workshop


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        title: What a person is told.
        config: Its resolved configuration.
        out: Its run directory.
    """

    title: str
    config: RunConfig
    out: Path

    def summary(self) -> dict[str, Any] | None:
        """What the finished run wrote down, or None.

        Raises:
            UserError: The run that is finished there is another one.
        """
        file = self.out / "summary.json"
        if not file.is_file():
            return None
        changed = first_difference(read_yaml(self.out / "config.yaml"), self.config.model_dump(mode="json"))
        if changed is not None:
            raise UserError(
                f"{str(self.out)!r} holds a run with another {changed!r}: remove it, or pass another --out"
            )
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return summary


def run_jobs(jobs: Sequence[Job], *, workers: int, workshop: Workshop, reporter: Reporter) -> None:
    """Runs what is not finished yet.

    Args:
        jobs: The runs.
        workers: How many to run at a time; more than one runs them in processes of their own.
        workshop: Holds the images and teachers that runs in this process share.
        reporter: Told what is under way.
    """
    waiting = [job for job in jobs if job.summary() is None]
    if len(waiting) < len(jobs):
        reporter.say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished already")
    if workers <= 1 or len(waiting) <= 1:
        for number, job in enumerate(waiting, 1):
            reporter.say(f"[{number}/{len(waiting)}] {job.title}")
            execute(job.config, job.out, resume=True, workshop=workshop, reporter=reporter)
        return
    for job in waiting:
        workshop.dataset(job.config.data)  # drawn once, into the cache that the workers read
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(threads,)) as pool:
        futures = {
            pool.submit(_work, job.config.model_dump(mode="json"), str(job.out)): job.title for job in waiting
        }
        try:
            _watch(futures, reporter)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # nothing new begins
            for process in multiprocessing.active_children():
                process.terminate()  # what runs writes a checkpoint and ends
            raise


def _watch(futures: dict[Future[None], str], reporter: Reporter) -> None:
    """Says which runs are finished; raises what a run raised, and `Stopped` when a stop is asked for."""
    pending, done = set(futures), 0
    with listening() as request:
        while pending:
            finished, pending = wait(pending, return_when=FIRST_EXCEPTION, timeout=0.5)
            for future in finished:
                future.result()
                done += 1
                reporter.say(f"[{done}/{len(futures)}] {futures[future]}")
            if request.signal is not None:
                raise Stopped(f"stopped by {request.signal} with {done} of {len(futures)} runs finished")


_workshop = Workshop()


def _begin(threads: int) -> None:
    """Prepares a worker: its share of the processors; a stop between two runs ends it quietly."""
    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _work(config: dict[str, Any], out: str) -> None:
    run_config: RunConfig = parse(RunConfig, config, where=out)
    execute(run_config, Path(out), resume=True, workshop=_workshop, reporter=Reporter(quiet=True))
