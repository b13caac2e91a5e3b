"""Writing shards one after another, or in several processes side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.data.decoding import Progress
from understudy.data.store.plan import Plan
from understudy.data.store.shards import write_shard
from understudy.errors import UserError
from understudy.orphans import end_with_parent

if TYPE_CHECKING:
    from understudy.data.dataset import Dataset


def write_shards(
    dataset: Dataset,
    plan: Plan,
    shards: Sequence[int],
    place: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Writes the shards that are missing.

    Args:
        dataset: Opens the images.
        plan: What goes where.
        shards: Their numbers.
        place: The store.
        workers: Processes.
        progress: Called with (done, total) images, those of earlier runs counted as done.

    Raises:
        UserError: The disk is full, or a worker was killed.
    """
    total = len(plan.manifest)
    done = total - sum(len(plan.rows(shard)) for shard in shards)
    if workers > 1 and len(shards) > 1:
        _side_by_side(dataset, plan, shards, place, min(workers, len(shards)), done, progress)
        return
    for shard in shards:

        def tick(inside: int, _: int, before: int = done) -> None:
            if progress is not None:
                progress(before + inside, total)

        write_shard(dataset, plan, shard, place, progress=tick)
        done += len(plan.rows(shard))


def _side_by_side(
    dataset: Dataset,
    plan: Plan,
    shards: Sequence[int],
    place: Path,
    workers: int,
    done: int,
    progress: Progress | None,
) -> None:
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = multiprocessing.get_context("spawn")
    strangers = set(multiprocessing.active_children())
    arguments = (dataset, plan, place, threads)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=arguments) as pool:
        futures = {pool.submit(_work, shard): shard for shard in shards}
        try:
            for future in as_completed(futures):
                future.result()
                done += len(plan.rows(futures[future]))
                if progress is not None:
                    progress(done, len(plan.manifest))
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - strangers:
                process.terminate()  # a shard that is not whole is done again
            if isinstance(error, BrokenProcessPool):
                raise UserError(
                    "a worker process was killed (too little memory?): run the same command again with fewer "
                    "workers; finished shards are kept"
                ) from error
            raise


_task: list[tuple[Dataset, Plan, Path, int]] = []


def _begin(dataset: Dataset, plan: Plan, place: Path, threads: int) -> None:
    """Prepares a worker: it ends with its parent, whatever ends that."""
    _task.append((dataset, plan, place, threads))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()


def _work(shard: int) -> None:
    dataset, plan, place, threads = _task[-1]
    write_shard(dataset, plan, shard, place, threads=threads)
