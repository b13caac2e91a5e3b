"""Which GPUs the runs of a study work on, side by side."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import torch

from understudy.config import RunConfig
from understudy.errors import UserError


def gpus_of(runs: Iterable[RunConfig], wanted: Sequence[str] | None) -> tuple[int, ...]:
    """The numbers of the GPUs that runs are shared out to.

    Args:
        runs: The runs' settings.
        wanted: Their names, such as ``cuda:1``; None: all that can be seen.

    Returns:
        The numbers; none where the runs name a device of their own, or there is no GPU.

    Raises:
        UserError: A name is of no GPU that is here, or some run names a device of its own.

    Example:
        >>> gpus_of([], ["cuda:x"])
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: 'cuda:x' is no GPU that is here: pass --devices such as cuda:0,cuda:1
    """
    own = next((run.device for run in runs if run.device not in ("auto", "cuda")), None)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted is None:
        return tuple(range(there)) if own is None else ()
    for name in wanted:
        kind, _, number = name.partition(":")
        if kind != "cuda" or not number.isdecimal() or int(number) >= there:
            raise UserError(f"{name!r} is no GPU that is here: pass --devices such as cuda:0,cuda:1")
    if own is not None:
        raise UserError(f"the runs are to work on {own!r}: leave --devices out, or set their device to auto")
    return tuple(dict.fromkeys(int(name.partition(":")[2]) for name in wanted))


def see_only(gpu: int) -> None:
    """Lets this process, which must not have used a GPU yet, see one GPU alone.

    A run's ``device`` stays ``cuda`` that way, so it can go on on another one.
    """
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = seen.split(",") if seen else None
    os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu) if names is None else names[gpu].strip()
