"""Bounding boxes as data sets publish them, made to fit their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from understudy.data.images import read_header


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
        boxes: (n, 4) float64: left, upper, right, lower, from 0, of the images as their files store them.
        progress: Called with (done, total).

    Returns:
        (n, 4) int64, a row of -1 (the whole image) where a box lies outside of its image or is empty; and a
        sentence for each kind of change that was made.

    Raises:
        UserError: The header of an image cannot be read.
    """
    sizes = np.empty((len(paths), 2), dtype=np.int64)
    turned = np.empty((len(paths), 4), dtype=np.float64)
    for row, path in enumerate(paths):
        sizes[row], turned[row] = upright(folder / path, boxes[row].tolist())
        if progress is not None and (row % 256 == 255 or row + 1 == len(paths)):
            progress(row + 1, len(paths))
    whole = np.concatenate([np.floor(turned[:, :2]), np.ceil(turned[:, 2:])], axis=1).astype(np.int64)
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


def upright(path: Path, box: Sequence[float]) -> tuple[tuple[int, int], tuple[float, ...]]:
    """Width and height of an image as it is read, upright, and where a box of the stored image lies in it.

    The authors of data sets drew their boxes with tools that pass over the EXIF orientation.

    Raises:
        UnreadableImageError: The image's header cannot be read.
    """
    width, height, orientation = read_header(path)
    left, upper, right, lower = box
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        upper, lower = height - lower, height - upper
    if orientation < 5:
        return (width, height), (left, upper, right, lower)
    return (height, width), (upper, left, lower, right)
