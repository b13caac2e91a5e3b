"""Embeds images of any kind and number with bounded memory."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from understudy.data.images import plain, read_image
from understudy.data.preprocessing import Preprocessing, decode
from understudy.data.render import render
from understudy.errors import UserError
from understudy.heap import kept_memory
from understudy.models.space import SpaceName, check_reduction

if TYPE_CHECKING:
    from understudy.models.embedder import Embedder

OneImage: TypeAlias = str | Path | Image.Image | np.ndarray
Images: TypeAlias = OneImage | Iterable[OneImage]
Progress: TypeAlias = Callable[[int, int | None], None]

_AHEAD = 2


def encode(
    model: Embedder,
    images: Images,
    *,
    batch_size: int,
    dim: int | None,
    space: SpaceName,
    progress: bool | Progress,
    device: torch.device | str | None,
) -> np.ndarray:
    """See `Embedder.encode`."""
    if batch_size < 1:
        raise UserError(f"batch_size = {batch_size}: give at least 1")
    check_reduction(dim, space, own=model.dim, compatible=model.projection is not None)
    total, sources = _in_a_row(images)
    parts: list[np.ndarray] = []
    done = 0
    with _evaluating(model, device) as place, _reporting(progress, total) as report:
        for batch in _decoded(sources, model.preprocessing, batch_size):
            x = render(batch.to(place), None, model.preprocessing)
            vectors = model.reduce(model.embed(x), dim, space)
            parts.append(vectors.float().cpu().numpy())
            done += len(batch)
            report(done, total)
    if parts:
        return np.concatenate(parts)
    width = model.space.dim if space == "teacher" and model.space is not None else dim or model.dim
    return np.zeros((0, width), np.float32)


def _in_a_row(images: Images) -> tuple[int | None, Iterable[OneImage]]:
    """How many images there are, None where only the end will tell, and all of them one by one."""
    if isinstance(images, str | Path | Image.Image):
        return 1, [images]
    if isinstance(images, np.ndarray) and images.dtype != object:
        if images.ndim == 4:
            return len(images), list(images)
        return (0, []) if images.size == 0 and images.ndim == 1 else (1, [images])
    if not isinstance(images, Iterable):
        raise UserError(f"cannot embed a {type(images).__name__}: pass paths, PIL images or uint8 arrays")
    return (len(images) if isinstance(images, Sequence | np.ndarray) else None), images


def _decoded(sources: Iterable[OneImage], pre: Preprocessing, batch_size: int) -> Iterator[Tensor]:
    """Decoded images (n, channels, *pre.resize) uint8, read in threads at most two batches ahead."""
    numbered = enumerate(sources)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    waiting: deque[list[Future[np.ndarray]]] = deque()
    try:
        while True:
            while len(waiting) < _AHEAD:
                batch = itertools.islice(numbered, batch_size)
                waiting.append([pool.submit(_decode_one, image, number, pre) for number, image in batch])
            ready = waiting.popleft()
            if not ready:
                return
            yield torch.from_numpy(np.stack([future.result() for future in ready]))
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_one(image: OneImage, number: int, pre: Preprocessing) -> np.ndarray:
    if isinstance(image, str | Path):
        image = read_image(image, channels=pre.channels)
    else:
        image = _plain_picture(image, number, pre.channels)
    return decode(image, pre.resize, pre.mode, pre.interpolation, pre.channels)


def _plain_picture(image: object, number: int, channels: int) -> Image.Image:
    """A PIL image or an array as plain grey or RGB, by the same rules as a file."""
    if isinstance(image, np.ndarray):
        image = _picture(image, number)
    if not isinstance(image, Image.Image):
        raise UserError(f"image {number} is a {type(image).__name__}: pass paths, PIL images or uint8 arrays")
    try:
        return plain(ImageOps.exif_transpose(image), channels)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"image {number} cannot be read ({error}): replace or remove it") from error


def _picture(array: np.ndarray, number: int) -> Image.Image:
    """A PIL image of a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."""
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    known = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (3, 4))
    if not known or flat.dtype != np.uint8 or flat.size == 0:
        raise UserError(
            f"image {number} is an array {array.shape} of {array.dtype}: pass uint8 arrays (H, W), (H, W, 3) "
            "or (H, W, 4), channels last, values 0 to 255"
        )
    return Image.fromarray(np.ascontiguousarray(flat))


@contextlib.contextmanager
def _evaluating(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """The model in evaluation mode on a device, without gradients; afterwards everything as it was."""
    modes = [(module, module.training) for module in model.modules()]
    home = next(model.parameters()).device
    place = home if device is None else torch.device(device)
    try:
        model.eval()
        model.to(place)
        with torch.no_grad(), kept_memory(place):
            yield place
    finally:
        model.to(home)
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _reporting(progress: bool | Progress, total: int | None) -> Iterator[Progress]:
    """What to call after each batch: the given function, a bar on a terminal's standard error, or nothing."""
    if callable(progress):
        yield progress
    elif progress:
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True)) as bar:
            task = bar.add_task("embedding", total=total)
            yield lambda done, _total: bar.update(task, completed=done)
    else:
        yield lambda _done, _total: None
