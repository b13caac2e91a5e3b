"""Several files as one stretch of memory."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_READ, _SHARED, _FIXED = 1, 1, 0x10  # the numbers of PROT_READ, MAP_SHARED, MAP_FIXED on Linux and macOS


def map_files(files: Sequence[Path]) -> Tensor:
    """Maps files into memory, read-only, one directly behind the other.

    So that rows of many files are gathered by one indexed copy. A stretch of addresses is reserved, and each
    file is laid over its part of it. Where pages are longer than the files' lengths allow, or there is no
    such call, the files are read into memory instead.

    Args:
        files: At least one; none empty.

    Returns:
        (all bytes,) uint8. Nobody may write to it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, count in (("a", mmap.PAGESIZE), ("b", 3)):
        ...     _ = (folder / name).write_bytes(name.encode() * count)
        >>> bytes(map_files([folder / "a", folder / "b"])[-5:].tolist())
        b'aabbb'
    """
    lengths = [file.stat().st_size for file in files]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*")
        if len(files) == 1:
            return torch.from_numpy(np.memmap(files[0], np.uint8, "r"))
        if any(length % mmap.PAGESIZE for length in lengths[:-1]) or os.name != "posix":
            return torch.from_numpy(np.concatenate([np.fromfile(file, np.uint8) for file in files]))
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        reserved = mmap.mmap(-1, sum(lengths), flags=kind, prot=mmap.PROT_READ)
        stretch = np.frombuffer(reserved, np.uint8)  # unmapped, with the files on it, when nobody holds it
        start = int(stretch.ctypes.data)
        for file, length in zip(files, lengths, strict=True):
            _lay(file, start, length)
            start += length
        return torch.from_numpy(stretch)


def _lay(file: Path, start: int, length: int) -> None:
    handle = os.open(file, os.O_RDONLY)
    try:
        if _mmap()(start, length, _READ, _SHARED | _FIXED, handle, 0) != start:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(file))
    finally:
        os.close(handle)


@functools.cache
def _mmap() -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    return call
