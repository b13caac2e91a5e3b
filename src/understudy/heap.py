"""Memory that one step frees and the next one asks for again stays with the process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_KEPT = {_MAP: 2**30, _TRIM: -1}
# What malloc's own adjustment ends at, once a program has freed a large block: it cannot be asked, nor be
# switched on again.
_USUAL = {_MAP: 32 * 2**20, _TRIM: 64 * 2**20}
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")

_lock = threading.Lock()
_keeping = 0


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Keeps what is freed meanwhile for whoever asks next, where computing is done by the CPU.

    C's malloc gives blocks of some megabytes back to the system when they are freed, and the system clears
    and hands out every page anew when the next step asks for the same amount: on a small student that is a
    third of a step. Meanwhile free memory stays with the process; a tensor of 1 GiB or more is still mapped
    and unmapped by itself. Afterwards malloc gives blocks back again, as they are freed. Results do not
    change.

    Several may be open at once, one inside the other or in several threads. Nothing happens where the device
    is no CPU, where the C library is not glibc, and where the environment has set malloc's thresholds.

    Args:
        device: Where what follows is computed.

    Example:
        >>> with kept_memory(torch.device("cpu")):
        ...     total = sum(float(torch.ones(1 << 20).sum()) for _ in range(3))
        >>> total
        3145728.0
    """
    tell = _mallopt() if device.type == "cpu" else None
    if tell is None:
        yield
        return
    _count(1, tell)
    try:
        yield
    finally:
        _count(-1, tell)


def _count(change: int, tell: Callable[[int, int], int]) -> None:
    """Counts who keeps memory; the first sets malloc's thresholds, the last sets them back."""
    global _keeping
    with _lock:
        before, _keeping = _keeping, _keeping + change
        if not before or not _keeping:
            for option, value in (_KEPT if _keeping else _USUAL).items():
                if not tell(option, value):  # an older glibc maps blocks from 32 MiB on in any case
                    tell(option, _USUAL[option])


def _mallopt() -> Callable[[int, int], int] | None:
    """The C library's ``mallopt``, which gives 0 where it refuses; None where nothing is to be set."""
    if sys.platform != "linux" or any(name in os.environ for name in _CHOSEN):
        return None
    found: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
    return found
