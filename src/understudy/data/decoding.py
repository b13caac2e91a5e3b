"""Decoding many images: in a pool of threads, with what cannot be read counted and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from understudy.data.images import UnreadableImageError
from understudy.data.memory import available_memory
from understudy.data.pixels import Pixels
from understudy.data.preprocessing import Interpolation, ResizeMode, decode
from understudy.errors import UserError

_CHUNK = 16
_NAMED = 3

Progress = Callable[[int, int], None]


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
    reasons = decode_into(
        pixels,
        read,
        wanted,
        mode=mode,
        interpolation=interpolation,
        workers=workers,
        progress=progress,
    )
    if reasons:
        refuse_unreadable(reasons, len(wanted), skip=skip_unreadable, say=say)
        readable = np.ones(len(wanted), dtype=bool)
        readable[list(reasons)] = False
        pixels, wanted = pixels[readable], wanted[readable]
    return Pixels(torch.from_numpy(pixels), torch.from_numpy(wanted))


def decode_into(
    pixels: np.ndarray,
    read: Callable[[int], Image.Image],
    rows: np.ndarray,
    *,
    mode: ResizeMode,
    interpolation: Interpolation,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[int, str]:
    """Decodes images to where they are wanted.

    Args:
        pixels: (n, C, H, W) uint8, written to; what cannot be read is left as it is.
        read: See `decode_all`.
        rows: (n,) manifest rows.
        mode: See there.
        interpolation: See there.
        workers: See there.
        progress: See there.

    Returns:
        Why an image cannot be read, by its place in ``rows``, in order.
    """
    channels, height, width = pixels.shape[1:]
    reasons: dict[int, str] = {}

    def decode_some(start: int) -> int:
        for position in range(start, min(start + _CHUNK, len(rows))):
            try:
                image = read(int(rows[position]))
                pixels[position] = decode(image, (height, width), mode, interpolation, channels)
            except UserError as error:
                reasons[position] = error.what if isinstance(error, UnreadableImageError) else str(error)
        return min(start + _CHUNK, len(rows))

    threads = workers or min(16, os.cpu_count() or 1)
    for done in _in_order(decode_some, range(0, len(rows), _CHUNK), threads):
        if progress is not None:
            progress(done, len(rows))
    return dict(sorted(reasons.items()))


def refuse_unreadable(
    reasons: Mapping[int, str], total: int, *, skip: bool, say: Callable[[str], None] | None = None
) -> None:
    """Says which images cannot be read.

    Args:
        reasons: Why each of them cannot.
        total: How many images there are.
        skip: Leave them out.
        say: Told which are left out.

    Raises:
        UserError: They are not to be left out, or no other image is left.
    """
    first, count = list(reasons.values())[:_NAMED], len(reasons)
    if skip and count == total:
        raise UserError(f"not one of {total} images can be read: {first[0]}")
    more = f"; and {count - _NAMED} more" if count > _NAMED else ""
    found = f"{count} of {total} images cannot be read ({'; '.join(first)}{more})"
    if not skip:
        raise UserError(f"{found}: mend or remove them, or skip unreadable images (skip_unreadable)")
    if say is not None:
        say(f"{found} and are left out")


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
            f"and {have / 1e9:.1f} GB are free: choose a smaller resize, or pack them (understudy prepare "
            "--pack), which reads them from the disk as they are needed"
        )
