"""Runs of a study, one after another or several side by side; a finished run is never done again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.study.crew import Crew
from understudy.study.job import Job, note_divergence
from understudy.study.spending import Spending
from understudy.training.device import find_device
from understudy.training.guard import Diverged
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.signals import Stopped, listening
from understudy.training.workshop import Workshop

_NAMED = 3


def run_jobs(
    jobs: Sequence[Job],
    *,
    crew: Crew,
    workshop: Workshop,
    reporter: Reporter,
    spending: Spending,
) -> None:
    """Runs what has not ended yet. A run that fails does not keep the others from being finished.

    A run whose loss became NaN has not failed: that it diverged is what is found of it, and kept.

    Args:
        jobs: The runs.
        crew: The processes that they are shared out to, where there is more than one.
        workshop: Holds the images and teachers that runs in this process share.
        reporter: Told what is under way.
        spending: Counts the time of the GPUs.

    Raises:
        UserError: Some runs failed; the sentence names the first.
        Stopped: SIGINT or SIGTERM came; the runs under way have written checkpoints.
    """
    waiting = [job for job in jobs if not job.ended()]
    if len(waiting) < len(jobs):
        wild = sum(job.divergence() is not None for job in jobs)
        told = f", {wild} diverged (remove a run's diverged.json to begin it again)" if wild else ""
        reporter.say(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished already{told}")
    if not waiting:
        return
    failures = _Failures(len(waiting), reporter)
    if not crew.called_for(len(waiting)):
        on_gpu = find_device(waiting[0].config.device).type == "cuda"
        with spending.on(gpus=int(on_gpu)):
            _one_by_one(waiting, workshop, spending, failures)
        return
    for job in waiting:
        workshop.dataset(job.config.data)  # drawn once, into the cache that the workers read
    used = len(crew.gpus[: len(waiting)])
    with spending.on(gpus=used or sum(job.config.device.startswith("cuda") for job in waiting[:1])):
        _side_by_side(waiting, crew, spending, failures)


def _one_by_one(jobs: Sequence[Job], workshop: Workshop, spending: Spending, failures: _Failures) -> None:
    reporter = failures.reporter
    for number, job in enumerate(jobs, 1):
        reporter.say(f"[{number}/{len(jobs)}] {job.title}")
        try:
            _train(job.config, job.out, workshop, reporter)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 (as side by side: it is named in the end)
            failures.add(job.title, error)
        spending.note()
    failures.end()


def _side_by_side(jobs: Sequence[Job], crew: Crew, spending: Spending, failures: _Failures) -> None:
    pool = crew.pool()
    futures = {
        pool.submit(_work, job.config.model_dump(mode="json"), str(job.out)): job.title for job in jobs
    }
    try:
        _watch(futures, failures, spending.note)
    except Stopped as stop:
        crew.dismiss()  # some may have ended since they were last asked about, so it counts what they wrote
        finished = sum(job.summary() is not None for job in jobs)
        raise Stopped(f"{stop} with {finished} of {len(jobs)} runs finished") from stop
    except BaseException:
        crew.dismiss()
        raise


def _watch(futures: dict[Future[None], str], failures: _Failures, note: Callable[[], None]) -> None:
    """Says which runs are finished and which failed; raises `Stopped` when a stop is asked for."""
    pending, done = set(futures), 0
    with listening() as request:
        while pending:
            running = [futures[future] for future in pending if future.running()]
            finished, pending = wait(pending, return_when=FIRST_COMPLETED, timeout=0.5)
            if request.signal is not None:
                raise Stopped(f"stopped by {request.signal}")
            for future in finished:
                try:
                    future.result()
                except Stopped:
                    raise
                except BrokenProcessPool:
                    raise UserError(
                        f"a process was killed, perhaps for want of memory, during one of: "
                        f"{_few(running)}: start the study again with fewer --jobs, finished runs are kept"
                    ) from None
                except Exception as error:  # noqa: BLE001 (whatever it was, it is named in the end)
                    failures.add(futures[future], error)
                else:
                    done += 1
                    failures.reporter.say(f"[{done}/{len(futures)}] {futures[future]}")
            if finished:
                note()
    failures.end()


class _Failures:
    """Which runs failed, said at once and again at the end."""

    def __init__(self, total: int, reporter: Reporter) -> None:
        self.reporter = reporter
        self._total = total
        self._errors: dict[str, Exception] = {}

    def add(self, title: str, error: Exception) -> None:
        if isinstance(error, Diverged):
            self.reporter.say(f"diverged: {title}: {error}")
            return
        self._errors[title] = error
        self.reporter.say(f"failed: {title}: {_sentence(error)}")

    def end(self) -> None:
        """Raises if there were any."""
        if not self._errors:
            return
        title, error = next(iter(self._errors.items()))
        others = f" (failed too: {_few(list(self._errors)[1:])})" if len(self._errors) > 1 else ""
        raise UserError(
            f"{len(self._errors)} of {self._total} runs failed, the others are kept; {title}: "
            f"{_sentence(error)}{others}"
        ) from error


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _few(titles: Sequence[str]) -> str:
    return "; ".join(titles[:_NAMED]) + ("; …" if len(titles) > _NAMED else "")


_workshop = Workshop()


_asked_to_stop: list[Stopped] = []


def _work(config: dict[str, Any], out: str) -> None:
    if _asked_to_stop:  # a run that lay in the pool's own queue, where nobody can cancel it
        raise _asked_to_stop[0]
    run_config: RunConfig = parse(RunConfig, config, where=out)
    try:
        _train(run_config, Path(out), _workshop, Reporter(quiet=True))
    except Stopped as stop:
        _asked_to_stop.append(stop)
        raise


def _train(config: RunConfig, out: Path, workshop: Workshop, reporter: Reporter) -> None:
    started = time.monotonic()
    try:
        execute(config, out, resume=True, workshop=workshop, reporter=reporter)
    except Diverged as error:
        note_divergence(out, error, time.monotonic() - started)
        raise
