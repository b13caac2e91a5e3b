"""The decoded images of a data set, asked for by their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.data.lines import Lines, Resident
from understudy.data.streaming import Stream
from understudy.data.views import Views, sent


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
    def streamed(self) -> bool:
        """Whether batches should be asked for before they are needed (`PixelStream`)."""
        return self._lines.streamed

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
        return self._lines.take(self._position.index_select(0, sent(rows, self._position.device)))

    def items(self, rows: Tensor, views: Views | None = None) -> Items:
        """The same with their rows (and views), as models take them."""
        views = None if views is None else views.to(self.device)
        return Items(sent(rows, self.device), self.gather(rows), views)

    def parts(self, rows: Iterable[Tensor]) -> Iterator[Items]:
        """`items` of one batch of rows after the other; those that come next are on their way meanwhile."""
        if not self.streamed:
            yield from map(self.items, rows)
            return
        stream, coming = PixelStream(self), iter(rows)
        asked = list(islice(coming, 1 + stream.ahead))
        for part in asked:
            stream.ask(part)
        while asked:
            part = asked.pop(0)
            images = stream.give()
            for more in islice(coming, 1):
                stream.ask(more)
                asked.append(more)
            yield Items(sent(part, self.device), images)

    def to(self, device: torch.device | str, resident: Resident = "auto") -> Pixels:
        """The same images for another device: in its memory if they fit there, see `Lines.to`.

        Raises:
            UserError: They are ``always`` to be in its memory and do not fit.
        """
        device = torch.empty(0, device=device).device
        at_home = device == self.device and device == self._lines.words.device
        in_memory = at_home and (self._places is None or device.type != "cpu")  # and not mapped files
        if (device == self.device and resident == "auto") or (in_memory and resident == "always"):
            return self
        lines = self._lines.to(device, self._places, resident)
        stayed = lines.words is self._lines.words
        return Pixels(lines, self.rows, self._places if stayed else None)


class PixelStream:
    """Images asked for before they are needed, by their manifest rows; see `understudy.data.streaming`.

    Args:
        pixels: The images, in the memory of the host.

    Attributes:
        ahead: How many requests should lie before the one that is wanted next.

    Example:
        >>> pixels = Pixels(torch.tensor([[[[7]]], [[[9]]]], dtype=torch.uint8), torch.tensor([4, 2]))
        >>> stream = PixelStream(pixels)
        >>> stream.ask(torch.tensor([2, 2]))
        >>> stream.give().flatten().tolist()
        [9, 9]
    """

    def __init__(self, pixels: Pixels) -> None:
        self._position = pixels._position  # noqa: SLF001
        self._stream = Stream(pixels._lines)  # noqa: SLF001
        self.ahead = self._stream.ahead

    def ask(self, rows: Tensor) -> None:
        """Asks for the images of some rows, (n,) int64."""
        self._stream.ask(self._position.index_select(0, rows.cpu()))

    def give(self) -> Tensor:
        """The images asked for longest ago, (n, C, H, W) uint8 on the pixels' device."""
        return self._stream.give()
