"""The bytes of decoded images, wherever they lie: in memory, on a device, or in mapped files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

RESIDENT_SHARE = 0.6
_CHUNK_BYTES = 64 * 2**20
_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)


@dataclass(frozen=True)
class Lines:
    """Images one behind the other, each perhaps with some bytes more than it needs.

    Attributes:
        words: (m, w), as `as_words` gives them.
        shape: Channels, height and width of an image.
        device: Where `take` puts images; ``words`` may lie elsewhere.

    Example:
        >>> three_bytes_and_one = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
        >>> lines = Lines(as_words(three_bytes_and_one), (3, 1, 1), torch.device("cpu"))
        >>> lines.take(torch.tensor([2, 0])).flatten(1).tolist()
        [[8, 9, 10], [0, 1, 2]]
    """

    words: Tensor
    shape: tuple[int, int, int]
    device: torch.device

    @classmethod
    def of(cls, images: Tensor) -> Lines:
        """From (m, C, H, W) uint8, on the same memory if that is contiguous."""
        channels, height, width = images.shape[1:]
        return cls(as_words(images.contiguous().flatten(1)), (channels, height, width), images.device)

    def __len__(self) -> int:
        return len(self.words)

    def take(self, places: Tensor) -> Tensor:
        """(n, C, H, W) uint8 on ``device``: the images at some places, which lie where ``words`` does."""
        return self._images(self._taken(places))

    def all(self) -> Tensor:
        """(m, C, H, W) uint8: every image, on the same memory unless there is padding."""
        return self._images(self.words)

    def to(self, device: torch.device, places: Tensor | None) -> Lines:
        """The images at some places for another device, all of them in these lines or just these in new ones.

        They are copied, unless the device is a GPU and they would take more than `RESIDENT_SHARE` of its free
        memory: then they stay where they are and what is taken goes through pinned memory.

        Args:
            device: Which.
            places: (n,) which images; none: all in order.

        Returns:
            As many lines as before if the images stayed where they are, else those of ``places``.
        """
        line = self.words.shape[1] * self.words.element_size()
        count = len(self.words) if places is None else len(places)
        sending = replace(self, device=device)
        if self.words.device.type == "cpu" and not _fits(count * line, device):
            return sending
        if places is None:
            return replace(sending, words=self.words.to(device))
        held = torch.empty((count, self.words.shape[1]), dtype=self.words.dtype, device=device)
        start = 0
        for part in torch.split(places, max(1, _CHUNK_BYTES // line)):
            held[start : start + len(part)] = sending._taken(part)  # noqa: SLF001
            start += len(part)
        return replace(sending, words=held)

    def _taken(self, places: Tensor) -> Tensor:
        if self.device == self.words.device:
            return self.words.index_select(0, places)
        # The allocator of pinned memory gives no piece out again before the copy from it is done.
        size, pinned = (len(places), self.words.shape[1]), self.device.type == "cuda"
        staged = torch.empty(size, dtype=self.words.dtype, pin_memory=pinned)
        torch.index_select(self.words, 0, places, out=staged)
        return staged.to(self.device, non_blocking=True)

    def _images(self, words: Tensor) -> Tensor:
        size, lines = math.prod(self.shape), words.view(torch.uint8)
        if lines.shape[1] != size:
            lines = lines[:, :size].contiguous()
        return lines.view(len(words), *self.shape)


def as_words(lines: Tensor) -> Tensor:
    """Lines of bytes as lines of the longest words that divide them: torch copies those much faster.

    Args:
        lines: (n, b) uint8, contiguous.

    Returns:
        (n, b / size) integers on the same memory.

    Example:
        >>> as_words(torch.zeros(2, 12, dtype=torch.uint8)).dtype
        torch.int32
    """
    begins = lines.data_ptr() | lines.storage_offset()
    fitting = (word for word in _WORDS if lines.shape[1] % word.itemsize == 0 == begins % word.itemsize)
    return lines.view(next(fitting))


def _fits(size: int, device: torch.device) -> bool:
    """Whether so many bytes may lie on a device for as long as a run lasts."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return size <= RESIDENT_SHARE * free
