"""The decoded images of a data set, in memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from understudy.data.images import UnreadableImageError
from understudy.data.items import Items
from understudy.data.memory import available_memory
from understudy.data.preprocessing import Interpolation, ResizeMode, decode
from understudy.data.views import Views
from understudy.errors import UserError

_CHUNK = 16
_NAMED = 3

Progress = Callable[[int, int], None]


class Pixels:
    """Decoded images, asked for by their **manifest rows** whatever their place in memory.

    Args:
        tensor: (n, C, H, W) uint8.
        rows: (n,) int64, the manifest row of each image; no row twice.

    Example:
        >>> pixels = Pixels(torch.tensor([[[[7]]], [[[9]]]], dtype=torch.uint8), torch.tensor([4, 2]))
        >>> pixels.gather(torch.tensor([2, 4, 2])).flatten().tolist()
        [9, 7, 9]
    """

    def __init__(self, tensor: Tensor, rows: Tensor) -> None:
        if tensor.dim() != 4 or tensor.dtype != torch.uint8 or rows.shape != tensor.shape[:1]:
            shapes = f"{tuple(tensor.shape)} and {tuple(rows.shape)}"
            raise ValueError(f"need (n, C, H, W) uint8 and (n,) rows, not {shapes}")
        self.tensor = tensor
        self.rows = rows.to(torch.int64)
        size = int(self.rows.max()) + 1 if len(rows) else 0
        # One past the end marks a row that is not held: it fails on any device instead of giving another
        # image.
        self._position = torch.full((size,), len(rows), dtype=torch.int64)
        self._position[self.rows] = torch.arange(len(rows))
        self._position = self._position.to(tensor.device)

    def __len__(self) -> int:
        return len(self.tensor)

    def gather(self, rows: Tensor) -> Tensor:
        """The images of some manifest rows, (len(rows), C, H, W) uint8 on the device of ``tensor``."""
        return self.tensor.index_select(0, self._position[rows.to(self.tensor.device, non_blocking=True)])

    def items(self, rows: Tensor, views: Views | None = None) -> Items:
        """The same with their rows (and views), as models take them."""
        device = self.tensor.device
        views = None if views is None else views.to(device)
        return Items(rows.to(device, non_blocking=True), self.gather(rows), views)

    def to(self, device: torch.device | str) -> Pixels:
        """The same images in another device's memory."""
        return Pixels(self.tensor.to(device), self.rows)


def decode_all(
    read: Callable[[int], Image.Image],
    rows: Sequence[int] | np.ndarray,
    *,
    resize: tuple[int, int],
    mode: ResizeMode = "shorter",
    channels: int = 3,
    interpolation: Interpolation = "bicubic",
    workers: int | None = None,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Pixels:
    """Decodes images once, in a pool of threads (Pillow works outside Python's lock).

    Args:
        read: Opens the image of a manifest row, raising `UserError` where it cannot be read.
        rows: The manifest rows.
        resize: Height and width, see `understudy.data.preprocessing.decode`.
        mode: See there.
        channels: 1 or 3.
        interpolation: See there.
        workers: Threads; none: one a processor, at most 16.
        skip_unreadable: Leave unreadable images out (``Pixels.rows`` says which are there) instead of
            stopping.
        progress: Called with (done, total) from the calling thread.
        say: Told which images were left out.

    Returns:
        The images, in the order of ``rows``.

    Raises:
        UserError: The images would not fit into memory, some cannot be read (all are counted, the first ones
            named), or none can.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    height, width = resize
    _refuse_too_many(len(wanted), channels, height, width)
    pixels = np.empty((len(wanted), channels, height, width), dtype=np.uint8)
    readable = np.ones(len(wanted), dtype=bool)
    reasons: dict[int, str] = {}

    def decode_some(start: int) -> int:
        for position in range(start, min(start + _CHUNK, len(wanted))):
            try:
                image = read(int(wanted[position]))
            except UserError as error:
                readable[position] = False
                reasons[position] = error.what if isinstance(error, UnreadableImageError) else str(error)
            else:
                pixels[position] = decode(image, resize, mode, interpolation, channels)
        return min(start + _CHUNK, len(wanted))

    for done in _in_order(
        decode_some, range(0, len(wanted), _CHUNK), workers or min(16, os.cpu_count() or 1)
    ):
        if progress is not None:
            progress(done, len(wanted))
    if reasons:
        found = _unreadable([reasons[position] for position in sorted(reasons)], len(wanted), skip_unreadable)
        if say is not None:
            say(f"{found} and are left out")
        pixels, wanted = pixels[readable], wanted[readable]
    return Pixels(torch.from_numpy(pixels), torch.from_numpy(wanted))


def _in_order(work: Callable[[int], int], starts: Sequence[int], workers: int) -> Iterator[int]:
    """Runs the work in threads; an interrupt or an error drops what has not begun and leaves none behind."""
    pool = ThreadPoolExecutor(workers)
    try:
        yield from pool.map(work, starts)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _refuse_too_many(count: int, channels: int, height: int, width: int) -> None:
    need, have = count * channels * height * width, available_memory()
    if have is not None and need > 0.8 * have:
        raise UserError(
            f"{count:,} decoded images of {height} × {width} × {channels} need {need / 1e9:.1f} GB of memory "
            f"and {have / 1e9:.1f} GB are free: choose a smaller resize, fewer images or a larger machine"
        )


def _unreadable(reasons: list[str], total: int, skip: bool) -> str:
    """Says which images cannot be read; an error unless they are to be skipped and others are left."""
    if skip and len(reasons) == total:
        raise UserError(f"not one of {total} images can be read: {reasons[0]}")
    named = "; ".join(reasons[:_NAMED])
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    found = f"{len(reasons)} of {total} images cannot be read ({named}{more})"
    if not skip:
        raise UserError(f"{found}: mend or remove them, or skip unreadable images (skip_unreadable)")
    return found
