"""Several processes that work on one thing: how they meet, who writes, and what they tell each other."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from understudy.data.samplers.base import share as _edges
from understudy.errors import UserError
from understudy.training.ran_out import ran_out

T = TypeVar("T")

_PATIENCE = timedelta(hours=6)  # others wait while one measures or writes; a dead one is noticed at once
_exchanges = [0]
_meetings: list[Any] = []  # the stores through which the processes met; they take last words too


class LostProcess(Exception):
    """Another process ended in the middle of something that all do together."""


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """Joins the processes that a launcher such as ``torchrun`` started, and parts them at the end.

    CPU tensors travel by gloo and CUDA tensors by NCCL, and each process computes on the GPU of its
    ``LOCAL_RANK``. Nothing happens where ``WORLD_SIZE`` is 1 or unset, or where the processes are joined
    already.

    Raises:
        UserError: ``WORLD_SIZE`` says that there are several processes, and no launcher set the rest.

    Example:
        >>> with launched():
        ...     world(), rank(), is_writer()
        (1, 0, True)
    """
    if started() == 1 or dist.is_initialized():
        yield
        return
    try:
        store, number, total = next(rendezvous("env://"))
    except ValueError as error:
        raise UserError(
            f"WORLD_SIZE is {started()} and the rest is missing ({error}): start processes with torchrun, "
            "or unset WORLD_SIZE"
        ) from None
    _meetings.append(dist.PrefixStore(f"understudy/{restarts()}/{len(_meetings)}", store))  # type: ignore[attr-defined]
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    if nccl and local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(local_rank())
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if nccl else "gloo",
        store=_meetings[-1],
        rank=number,
        world_size=total,
        timeout=_PATIENCE,
    )
    try:
        yield
    except BaseException as error:
        if not isinstance(error, LostProcess):
            first_to_say(str(error))  # before the others notice that this process has gone
        _part(in_order=not nccl)
        raise
    _part(in_order=True)


def _part(*, in_order: bool) -> None:
    """Leaves the group; without waiting for what is under way on a GPU when this process has failed."""
    abort = getattr(dist.distributed_c10d, "_abort_process_group", None)
    if in_order or abort is None:
        dist.destroy_process_group()
    else:
        with contextlib.suppress(RuntimeError):
            abort()


def started() -> int:
    """How many processes a launcher started, joined or not."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def restarts() -> int:
    """How often ``torchrun`` has started the processes anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT") or 0)


def launch() -> str | None:
    """What tells this start of ``torchrun`` from every other, and is the same after it has restarted.

    It is the folder that ``torchrun`` makes for its logs: the run's id is "none" where nobody gave one, and
    one that was given may be given again. None without ``torchrun``, and where neither tells anything.

    Example:
        >>> launch()  # without torchrun
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE") or ""  # LOGS/attempt_0/RANK/error.json
    name = re.sub(r"[\\/]attempt_\d+[\\/]\d+[\\/][^\\/]+$", "", file) or os.environ.get("TORCHELASTIC_RUN_ID")
    return None if name in (None, "", "none") else name


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK") or 0)


def world() -> int:
    """How many processes work together (1 without a process group)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process (0 without a process group)."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def has_nccl() -> bool:
    """Whether what lies on GPUs travels by NCCL, whose messages a CUDA graph can record."""
    return dist.is_initialized() and "nccl" in dist.get_backend_config()


def is_writer() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def share(count: int, of: int | None = None) -> range:
    """Which of ``count`` things fall to this process, or to that of another number.

    They are contiguous, in rank order, each falls to exactly one, and the longer shares come first.

    Example:
        >>> share(3)
        range(0, 3)
    """
    return range(*_edges(count, rank() if of is None else of, world()))


def barrier() -> None:
    """Waits until every process is here."""
    if world() > 1:
        with talking():
            dist.all_reduce(torch.zeros(1))


def broadcast_object(value: T) -> T:
    """The writer's value, on every process; what the others pass is not looked at."""
    if world() == 1:
        return value
    box = [value]
    with talking():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: T) -> list[T]:
    """The values of all processes in rank order, on every process.

    Example:
        >>> gather_objects("mine")
        ['mine']
    """
    if world() == 1:
        return [value]
    every: list[Any] = [None] * world()
    with talking():
        dist.all_gather_object(every, value)
    return every


def any_process(said: bool) -> bool:
    """Whether any process says so.

    Example:
        >>> any_process(False)
        False
    """
    if world() == 1:
        return said
    votes = torch.tensor([int(said)])
    with talking():
        dist.all_reduce(votes, dist.ReduceOp.MAX)
    return bool(votes)


def exchanges() -> int:
    """How many exchanges with the others this process has begun: where it stands in what all do together."""
    return _exchanges[0]


def all_come_to(point: str, *, within: timedelta) -> bool:
    """Whether every process comes to a point; it is asked beside whatever else they exchange.

    They may come to it again. A process that was told no must not: the others are elsewhere.

    Args:
        point: What to call it.
        within: How long to wait for the others.

    Example:
        >>> all_come_to("the end", within=timedelta(seconds=1))
        True
    """
    if world() == 1:
        return True
    if not _meetings:  # somebody else has brought the processes together
        return False
    try:
        arrived = _meetings[-1].add(f"come/{point}", 1)
        times = -(-arrived // world())
        if arrived == times * world():
            _meetings[-1].set(f"all/{point}/{times}", "")
        _meetings[-1].wait([f"all/{point}/{times}"], within)
    except RuntimeError:  # the time is over, or whoever keeps the store has gone
        return False
    return True


def once(work: Callable[[], T]) -> T:
    """What the writer alone makes of something, on every process; its mistake is everybody's.

    Args:
        work: Called on the writer only.

    Raises:
        UserError: The writer raised it.

    Example:
        >>> once(lambda: 1 + 1)
        2
    """
    if world() == 1:
        return work()
    result: Any = None
    mistake: UserError | None = None
    if is_writer():
        try:
            result = work()
        except UserError as error:
            mistake = error
    result, mistake = broadcast_object((result, mistake))
    if mistake is not None:
        raise mistake
    made: T = result
    return made


@contextlib.contextmanager
def talking() -> Iterator[None]:
    """Says in plain words that another process has gone, round any exchange with the others.

    Raises:
        LostProcess: The exchange failed, and not for want of memory.
    """
    _exchanges[0] += 1
    try:
        yield
    except RuntimeError as error:
        if ran_out(error):  # libraries of messages say so in their own words
            raise
        raise LostProcess(
            "another process of this run has ended, and this one with it: the first message says why"
        ) from error


def first_to_say(sentence: str, *, of_all: bool = False) -> bool:
    """Whether the last sentence of this process is news to whoever reads what all of them print.

    Args:
        sentence: It is no news when another process has left the same one.
        of_all: It is no news when another process has left any sentence.
    """
    mine = f"{os.environ.get('RANK')} {sentence}"
    last = _leave_word(mine)
    return last == mine or not (of_all or last.partition(" ")[2] == sentence)


def _leave_word(words: str) -> str:
    """The last words of the process that was the first to leave some, in this very moment perhaps."""
    if not _meetings:
        return words
    try:
        return str(_meetings[-1].compare_set("last words", "", words).decode())
    except RuntimeError:  # whoever kept the words has gone as well
        return words
