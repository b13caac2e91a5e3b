"""Checkpoints: whole or not at all, rotated, and read back only after they have been found sound."""

from __future__ import annotations

import contextlib
import errno
import io
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from understudy.errors import UserError
from understudy.files import atomic_file
from understudy.training.ran_out import ran_out

_PATTERN = "step-*.pt"


def save_checkpoint(directory: Path, step: int, state: dict[str, Any], *, keep: int) -> Path:
    """Writes ``step-N.pt`` and removes the oldest beyond ``keep``.

    Args:
        directory: The run's checkpoint directory.
        step: Steps taken so far.
        state: Tensors and plain values only, so that ``torch.load(weights_only=True)`` can read it back.
        keep: How many checkpoints stay.

    Returns:
        The file.
    """
    path = directory / f"step-{step:08d}.pt"
    whole = io.BytesIO()
    torch.save(state, whole)
    with atomic_file(path) as draft:  # not torch.save: on a full disk it does not say so
        draft.write_bytes(whole.getbuffer())
    for old in sorted(directory.glob(_PATTERN))[:-keep]:
        old.unlink(missing_ok=True)
    return path


def latest_checkpoint(directory: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Reads the newest sound checkpoint.

    Args:
        directory: The run's checkpoint directory.
        say: Told in one sentence when a damaged file is passed over.

    Returns:
        The state, or None when there is no checkpoint at all.

    Raises:
        UserError: There are checkpoints but none is sound; or one cannot be read just now, which may pass.
        MemoryError, RuntimeError: The memory ran out.
    """
    with _not_now(directory):  # not glob, which finds nothing where it may not look
        paths = sorted((path for path in directory.iterdir() if path.match(_PATTERN)), reverse=True)
    for place, path in enumerate(paths):
        state = _read(path)
        if state is not None:
            for damaged in paths[:place]:  # else they would outlive the sound ones that come before them
                damaged.unlink(missing_ok=True)
            return state
        say(f"the checkpoint {path.name} is damaged: going back to the one before it")
    if paths:
        raise UserError(
            f"none of the checkpoints in {str(directory)!r} can be read: remove that directory to start anew"
        )
    return None


def _read(path: Path) -> dict[str, Any] | None:
    """The state; None where the file itself is damaged, for then it is passed over and removed."""
    try:
        with _not_now(path), _seeking():
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:
                    return None
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        pickle.UnpicklingError,
    ) as error:
        if ran_out(error):
            raise
        return None
    return state if isinstance(state, dict) else None


@contextlib.contextmanager
def _seeking() -> Iterator[None]:
    """Knows a damaged index by the place before the file's beginning that it sends the reader to."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise zipfile.BadZipFile(str(error)) from error
        raise


@contextlib.contextmanager
def _not_now(path: Path) -> Iterator[None]:
    """Says in one sentence that the system does not give what lies there."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot read {str(path)!r} ({error.strerror or error}): mend that, then go on with --resume; "
            "nothing was changed"
        ) from error
