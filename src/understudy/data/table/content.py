"""Whether the images behind a table are still the ones that its teacher saw."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from understudy.data.store.sources import content_hash, state
from understudy.data.table.checks import few
from understudy.errors import UserError

if TYPE_CHECKING:
    from understudy.data.dataset import Dataset
    from understudy.data.table.table import Table


_ASKING, _AT_ONCE = 16, 512
"""Threads that ask a file system about files, and about how many each asks at a time."""


def content_hashes(dataset: Dataset, rows: Iterable[int]) -> list[str]:
    """A hash of each image's file and box, or of its pixels where it has no file; "" where there is neither.

    Args:
        dataset: The images.
        rows: Manifest rows.

    Example:
        >>> from understudy.data import Dataset, Manifest
        >>> manifest = Manifest.of_paths("nowhere", ["a.png", "b.png"])
        >>> grey = Dataset("two", manifest, embedded=np.zeros((2, 1, 4, 4), np.uint8))
        >>> first, second = content_hashes(grey, [0, 1])
        >>> len(first), first == second, content_hashes(Dataset("none", manifest), [0])
        (32, True, [''])
    """

    def of(row: int) -> str:
        path, box = dataset.manifest.path(row), dataset.manifest.box(row)
        try:
            if dataset.embedded is not None:
                return content_hash(path, box, dataset.image(row, dataset.embedded.shape[1]))
            return content_hash(path, box, None if path.is_file() else dataset.image(row))
        except (OSError, UserError):
            return ""

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(of, rows))


def file_states(dataset: Dataset, rows: Iterable[int]) -> np.ndarray:
    """(n, 2) int64: size and time of change (in ns) of each image's file; -1 where it has none."""
    rows = list(rows)

    def some(start: int) -> list[tuple[int, int]]:
        return [state(dataset.manifest.path(row)) for row in rows[start : start + _AT_ONCE]]

    with ThreadPoolExecutor(_ASKING) as pool:  # a disk behind a network answers many at once
        states = list(chain.from_iterable(pool.map(some, range(0, len(rows), _AT_ONCE))))
    return np.array(states, dtype=np.int64).reshape(-1, 2)


def refuse_changed(table: Table, dataset: Dataset, rows: np.ndarray, numbers: np.ndarray) -> None:
    """Refuses images that are not the ones a table was made of; files that look untouched are not read.

    A table without content hashes is believed, and so is an image whose file is gone.

    Args:
        table: The table.
        dataset: The images.
        rows: (n,) their manifest rows.
        numbers: (n,) their rows in the table.

    Raises:
        UserError: Saying how many have changed and naming the first ones.
    """
    if table.hashes is None:
        return
    doubtful = np.ones(len(rows), dtype=bool)
    if table.states is not None:
        now, then = file_states(dataset, rows.tolist()), table.states[numbers]
        doubtful = (now != then).any(axis=1) | (now < 0).all(axis=1)  # a saved set has a time and no sizes
    places = np.flatnonzero(doubtful)
    found = content_hashes(dataset, rows[places].tolist())
    known = [table.hashes[number] for number in numbers[places].tolist()]
    changed = [
        dataset.manifest.ids[row]
        for row, new, old in zip(rows[places].tolist(), found, known, strict=True)
        if new and old and new != old
    ]
    if changed:
        raise UserError(
            f"{len(changed)} of {len(rows)} images have changed since {str(table.directory)!r} was written "
            f"({few([repr(name) for name in changed[:4]])}): embed them again into another table"
        )
