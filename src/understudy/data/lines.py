"""The bytes of decoded images, wherever they lie: in memory, on a device, or in mapped files."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from understudy.data.memory import available_memory
from understudy.errors import UserError

Resident = Literal["auto", "always", "never"]

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
        streamed: Whether who needs batches in order should take them through a `Stream`.

    Example:
        >>> three_bytes_and_one = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
        >>> lines = Lines(as_words(three_bytes_and_one), (3, 1, 1), torch.device("cpu"))
        >>> lines.take(torch.tensor([2, 0])).flatten(1).tolist()
        [[8, 9, 10], [0, 1, 2]]
    """

    words: Tensor
    shape: tuple[int, int, int]
    device: torch.device
    streamed: bool = False

    @classmethod
    def of(cls, images: Tensor) -> Lines:
        """From (m, C, H, W) uint8, on the same memory if that is contiguous."""
        channels, height, width = images.shape[1:]
        return cls(as_words(images.contiguous().flatten(1)), (channels, height, width), images.device)

    def __len__(self) -> int:
        return len(self.words)

    def take(self, places: Tensor) -> Tensor:
        """(n, C, H, W) uint8 on ``device``: the images at some places, which lie where ``words`` does."""
        return self.images(self._taken(places))

    def all(self) -> Tensor:
        """(m, C, H, W) uint8: every image, on the same memory unless there is padding."""
        return self.images(self.words)

    def images(self, words: Tensor, *, copy: bool = False) -> Tensor:
        """(n, C, H, W) uint8: what some of the lines hold; on memory of its own if that is asked for."""
        size, lines = math.prod(self.shape), words.view(torch.uint8)
        if copy:
            lines = lines[:, :size].clone(memory_format=torch.contiguous_format)
        elif lines.shape[1] != size:
            lines = lines[:, :size].contiguous()
        return lines.view(len(words), *self.shape)

    def to(self, device: torch.device, places: Tensor | None, resident: Resident = "auto") -> Lines:
        """The images at some places for another device, all of them in these lines or just these in new ones.

        Args:
            device: Which.
            places: (n,) which images; none: all in order.
            resident: ``always``: they are copied to its memory. ``never``: they stay where they are, and are
                streamed. ``auto``: copied, unless the device is a GPU and they would take more than
                `RESIDENT_SHARE` of its free memory.

        Returns:
            As many lines as before if the images stayed where they are, else those of ``places``.

        Raises:
            UserError: They are always to be copied and do not fit.
        """
        line = self.words.shape[1] * self.words.element_size()
        count = len(self.words) if places is None else len(places)
        sending = replace(self, device=device)
        if self.words.device.type == "cpu":
            free = _free(device)
            if resident == "never" or (resident == "auto" and not _fits(count * line, device, free)):
                return replace(sending, streamed=True)
            if resident == "always" and free is not None and count * line > free:
                raise UserError(
                    f"data.resident is 'always', and the images take {count * line / 1e9:.1f} GB of the "
                    f"{free / 1e9:.1f} GB that are free on {str(device)!r}: leave it at 'auto', or choose a "
                    "smaller data.resize"
                )
        if places is None:
            return replace(sending, words=self.words.to(device), streamed=False)
        held = torch.empty((count, self.words.shape[1]), dtype=self.words.dtype, device=device)
        start = 0
        for part in torch.split(places, max(1, _CHUNK_BYTES // line)):
            held[start : start + len(part)] = sending._taken(part)  # noqa: SLF001
            start += len(part)
        return replace(sending, words=held, streamed=False)

    def _taken(self, places: Tensor) -> Tensor:
        if self.device == self.words.device:
            return self.words.index_select(0, places)
        # The allocator of pinned memory gives no piece out again before the copy from it is done.
        size, pinned = (len(places), self.words.shape[1]), self.device.type == "cuda"
        staged = torch.empty(size, dtype=self.words.dtype, pin_memory=pinned)
        torch.index_select(self.words, 0, places, out=staged)
        return staged.to(self.device, non_blocking=True)


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


def _free(device: torch.device) -> int | None:
    """Bytes that can still be taken on a device; None where nobody says."""
    if device.type != "cuda":
        return available_memory()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _fits(size: int, device: torch.device, free: int | None) -> bool:
    """Whether so many bytes may lie on a device for as long as a run lasts."""
    return device.type != "cuda" or free is None or size <= RESIDENT_SHARE * free
