"""The decoded images of a data set, asked for by their rows."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.data.lines import Lines
from understudy.data.views import Views


class Pixels:
    """Decoded images, asked for by their **manifest rows** wherever they lie: in memory or in a store.

    Args:
        images: (n, C, H, W) uint8, or the lines of a store.
        rows: (n,) int64, the manifest row of each image; no row twice.
        places: (n,) which line is each row's; none: one behind the other.

    Attributes:
        rows: The same rows.

    Example:
        >>> pixels = Pixels(torch.tensor([[[[7]]], [[[9]]]], dtype=torch.uint8), torch.tensor([4, 2]))
        >>> pixels.gather(torch.tensor([2, 4, 2])).flatten().tolist()
        [9, 7, 9]
    """

    def __init__(self, images: Tensor | Lines, rows: Tensor, places: Tensor | None = None) -> None:
        if isinstance(images, Tensor):
            if images.dim() != 4 or images.dtype != torch.uint8 or rows.shape != images.shape[:1]:
                shapes = f"{tuple(images.shape)} and {tuple(rows.shape)}"
                raise ValueError(f"need (n, C, H, W) uint8 and (n,) rows, not {shapes}")
            images = Lines.of(images)
        self._lines = images
        self._places = places
        self.rows = rows.to(torch.int64)
        size = int(self.rows.max()) + 1 if len(rows) else 0
        # One past the end marks a row that is not held: it fails on any device instead of giving another
        # image.
        position = torch.full((size,), len(images), dtype=torch.int64)
        position[self.rows.cpu()] = torch.arange(len(rows)) if places is None else places.cpu()
        self._position = position.to(images.words.device)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def device(self) -> torch.device:
        """Where `gather` puts images; on their way there they may lie in the memory of the host."""
        return self._lines.device

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self._lines.shape

    @property
    def tensor(self) -> Tensor:
        """(n, C, H, W) uint8: all images in the order of ``rows``; a copy unless just these are in memory."""
        alone = self._places is None and self._lines.words.device == self.device
        return self._lines.all() if alone else self.gather(self.rows)

    def gather(self, rows: Tensor) -> Tensor:
        """The images of some manifest rows, (len(rows), C, H, W) uint8 on ``device``."""
        return self._lines.take(self._position.index_select(0, _sent(rows, self._position.device)))

    def items(self, rows: Tensor, views: Views | None = None) -> Items:
        """The same with their rows (and views), as models take them."""
        views = None if views is None else views.to(self.device)
        return Items(_sent(rows, self.device), self.gather(rows), views)

    def to(self, device: torch.device | str) -> Pixels:
        """The same images for another device: in its memory if they fit there, see `Lines.to`."""
        device = torch.empty(0, device=device).device
        if device == self.device:
            return self
        lines = self._lines.to(device, self._places)
        stayed = lines.words is self._lines.words
        return Pixels(lines, self.rows, self._places if stayed else None)


def _sent(rows: Tensor, device: torch.device) -> Tensor:
    """Rows on a device, without waiting on the way there; on the way back they would be read too early."""
    return rows.to(device, non_blocking=device.type != "cpu")
