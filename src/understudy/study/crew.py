"""The processes in which the runs of a study are trained side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from types import TracebackType
from typing import Self

import torch

from understudy.orphans import end_with_parent
from understudy.study.devices import see_only

_PATIENCE = 0.5
"""Seconds until a process that was asked to end is asked again."""


class Crew:
    """Processes that stay from one set of runs to the next, and are started when they are first needed.

    One that has loaded PyTorch, the images and a teacher's answers does not have to do it again.

    Args:
        workers: How many there are.
        gpus: The GPUs they are shared out to, by number; none: every one sees what there is.
        named: Whether these GPUs were asked for: then even one run is trained in a process that sees its own.

    Example:
        >>> with Crew(2) as crew:  # nothing is started here
        ...     crew.workers
        2
    """

    def __init__(self, workers: int, gpus: tuple[int, ...] = (), *, named: bool = False) -> None:
        self.workers = workers
        self._named = named
        self.gpus = gpus[:workers]
        self._pool: ProcessPoolExecutor | None = None
        self._strangers: set[BaseProcess] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def called_for(self, runs: int) -> bool:
        """Whether so many runs are trained in processes of their own."""
        return self._named or min(runs, self.workers) > 1

    def pool(self) -> ProcessPoolExecutor:
        """The processes, ready for work."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            places: SimpleQueue[int | None] = context.SimpleQueue()
            for number in range(self.workers):
                places.put(self.gpus[number % len(self.gpus)] if self.gpus else None)
            threads = max(1, (os.cpu_count() or 1) // self.workers)
            self._strangers = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_begin, initargs=(threads, places)
            )
        return self._pool

    def dismiss(self) -> None:
        """Nothing new begins; what runs is asked to write a checkpoint and end, and waited for.

        Asked again and again: one that had nothing to do ends at once and leaves the queue locked, so the
        others, once they have written theirs, would wait there for ever. To a run twice is no more than once.
        """
        if self._pool is not None:
            running = set(multiprocessing.active_children()) - self._strangers
            self._pool.shutdown(wait=False, cancel_futures=True)
            while running:
                for process in running:
                    process.terminate()
                wait([process.sentinel for process in running], timeout=_PATIENCE)
                running = {process for process in running if process.is_alive()}


def _begin(threads: int, places: SimpleQueue[int | None]) -> None:
    """Prepares a worker: its share of the processors, its GPU; a stop between two runs ends it quietly.

    So does the end of its study.
    """
    end_with_parent()
    torch.set_num_threads(threads)
    gpu = places.get()
    if gpu is not None:
        see_only(gpu)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
