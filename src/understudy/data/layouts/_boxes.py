"""Bounding boxes as data sets publish them, made to fit their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from understudy.data.images import UnreadableImageError


def fitted(
    folder: Path,
    paths: Sequence[str],
    boxes: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Rounds boxes outwards to whole pixels and cuts them to their images, whose headers are read for it.

    Args:
        folder: Where the images lie.
        paths: The n images, relative to it.
        boxes: (n, 4) float64: left, upper, right, lower, from 0.
        progress: Called with (done, total).

    Returns:
        (n, 4) int64, a row of -1 (the whole image) where a box lies outside of its image or is empty; and a
        sentence for each kind of change that was made.

    Raises:
        UserError: The header of an image cannot be read.
    """
    sizes = np.empty((len(paths), 2), dtype=np.int64)
    for row, path in enumerate(paths):
        sizes[row] = _size(folder / path)
        if progress is not None and (row % 256 == 255 or row + 1 == len(paths)):
            progress(row + 1, len(paths))
    whole = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1).astype(np.int64)
    cut = whole.clip(0, np.tile(sizes, 2))
    empty = (cut[:, 0] >= cut[:, 2]) | (cut[:, 1] >= cut[:, 3])
    beyond = (cut != whole).any(axis=1) & ~empty
    cut[empty] = -1
    notes = []
    if beyond.any():
        notes.append(f"{beyond.sum():,} boxes reached beyond their images and were cut to them")
    if empty.any():
        notes.append(f"{empty.sum():,} boxes held nothing of their images, which count as a whole")
    return cut, notes


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise UnreadableImageError(
            f"{str(path)!r} cannot be read as an image", "unpack the official archive again"
        ) from error
