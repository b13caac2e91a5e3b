"""Asking a teacher about many images in one go: each image once, whichever process asks."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.data.pixels import Pixels
from understudy.data.table import Table, TablePlan, TableWriter
from understudy.teachers import LimitedTeacher, Spent, Teacher
from understudy.teachers.cached import CachedTeacher
from understudy.training.processes import distributed
from understudy.training.processes.gathering import gather

BATCH = 256
SHARD_ROWS = 256
"""How many paid answers are written at a time: no more are lost by a killed process."""


def ask_all(cached: CachedTeacher, pixels: Pixels, rows: Tensor, tick: Callable[[int, int], None]) -> None:
    """Fills a `CachedTeacher`, every process asking about its share of the images.

    The batches are those of one process, so the answers are equal to its own to the bit on the same hardware.

    Args:
        cached: The teacher to fill.
        pixels: The images.
        rows: (n,) the manifest rows that are asked about.
        tick: Told how many answers there are and will be.
    """
    per = max(1, BATCH // cached.num_views)
    shares = [distributed.share(-(-len(rows) // per), rank) for rank in range(distributed.world())]
    parts = [rows[share.start * per : share.stop * per] for share in shares]
    mine = parts[distributed.rank()]
    with afforded(cached.teacher, len(rows) * cached.num_views):
        answers = cached.ask(pixels.gather, mine, batch_size=per * cached.num_views, progress=tick)
    counts = [len(part) * cached.num_views for part in parts]
    cached.keep(rows, {name: gather(values, counts) for name, values in answers.items()})


def ask_into_table(
    cached: CachedTeacher,
    pixels: Pixels,
    rows: Tensor,
    directory: Path,
    ids: Sequence[str],
    facts: Mapping[str, Any],
    tick: Callable[[int, int], None],
) -> Table:
    """Writes the answers to a table, which is gone on with where it was left.

    Args:
        cached: Who is asked, about which views.
        pixels: The images.
        rows: (n,) the manifest rows that are asked about.
        directory: The table's.
        ids: The name of each of the rows.
        facts: What is known of the teacher.
        tick: Told how many answers there are and will be.

    Returns:
        The finished table.

    Raises:
        UserError: Another table stands there, or the teacher fails.
        Spent: The budget does not reach for the answers that are missing; those that are there stay.
    """
    teacher, views = cached.teacher, cached.num_views
    plan = TablePlan(
        teacher.name,
        dim=teacher.dim,
        num_views=views,
        recipe=None if cached.view == "clean" else cached.augmentation.model_dump(mode="json"),
        view_seed=0 if cached.view == "clean" else cached.seed,
        metadata={**facts, "decoded": list(pixels.shape)},
        classes=teacher.classes if "logits" in cached.supplies else None,
        shard_rows=SHARD_ROWS,
    )
    numbers = rows.cpu().tolist()
    world = distributed.world()
    group = distributed.broadcast_object(secrets.token_hex(8)) if world > 1 else None
    with TableWriter.open(directory, ids, plan=plan, rows=numbers, group=group) as writer:
        missing = sum(len(writer.items(shard)) for shard in writer.pending()) * views
        if isinstance(teacher, LimitedTeacher):
            teacher.spent += writer.queries
        distributed.barrier()  # every process counts before one of them asks
        total = done = len(rows) * views
        done -= missing
        with afforded(teacher, missing):
            for shard in writer.pending(distributed.rank(), world):
                items = writer.items(shard)
                part = rows[items.start : items.stop]
                before = teacher.queries
                try:
                    answers = cached.ask(pixels.gather, part, batch_size=BATCH)
                finally:
                    writer.asked(teacher.queries - before)
                given = {name: values.cpu().numpy() for name, values in answers.items()}
                writer.write(shard, given["embedding"], given.get("logits"))
                done += len(part) * views
                tick(done, total)
        distributed.barrier()
        distributed.once(lambda: writer.finish() and None)
    return Table.open(directory)


def read_into_memory(cached: CachedTeacher, table: Table, rows: Tensor, numbers: Sequence[int]) -> None:
    """Fills a `CachedTeacher` with what a table holds.

    Args:
        cached: The teacher to fill.
        table: The table.
        rows: (n,) manifest rows.
        numbers: (n,) their rows in the table.
    """
    places = torch.as_tensor(numbers).repeat_interleave(cached.num_views).numpy()
    views = torch.arange(cached.num_views).repeat(len(rows)).numpy() if cached.num_views > 1 else None
    answers = {"embedding": torch.from_numpy(table.read(places, views))}
    if "logits" in cached.supplies:
        answers["logits"] = torch.from_numpy(table.read_logits(places, views))
    cached.keep(rows, {name: values.to(rows.device) for name, values in answers.items()})


@contextlib.contextmanager
def afforded(teacher: Teacher, total: int) -> Iterator[None]:
    """Refuses what a budget does not reach for before anything is asked; all processes' questions count.

    Args:
        teacher: Who is asked within.
        total: How many images × views all processes together will ask about.

    Raises:
        Spent: The budget does not reach.
    """
    if not isinstance(teacher, LimitedTeacher):
        yield
        return
    if teacher.budget is not None and total and teacher.spent + total > teacher.budget:
        raise Spent(
            f"the budget of {teacher.budget} questions to the teacher {teacher.name!r} does not reach for "
            f"the {total} that are needed ({teacher.spent} were asked before): raise its budget, or set "
            "data.queries to use fewer images"
        )
    before = teacher.queries
    yield
    if distributed.world() > 1:
        mine = teacher.queries - before
        teacher.spent += sum(distributed.gather_objects(mine)) - mine
