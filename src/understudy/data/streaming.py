"""Images on their way from the host's memory to a device, a few batches before they are needed."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from torch import Tensor

from understudy.data.lines import Lines

AHEAD = 3


class Stream:
    """Gives the images that were asked for, in that order; a thread of its own takes them together meanwhile.

    For a GPU they are taken into pinned memory and copied on a stream of their own, so that neither the host
    nor the device waits while there is something to compute. Buffers are made once and used in turn: the host
    is never more than a few batches before the device. What is given is a copy of the buffer, which nobody
    overwrites. The thread calls nothing of CUDA, so that it cannot spoil a graph that is being recorded.

    Args:
        lines: The images, in the memory of the host.
        ahead: How many requests should lie before the one that is wanted next.

    Attributes:
        ahead: The same number.

    Example:
        >>> images = torch.arange(6, dtype=torch.uint8).reshape(6, 1, 1, 1)
        >>> stream = Stream(Lines.of(images))
        >>> stream.ask(torch.tensor([5, 0]))
        >>> stream.ask(torch.tensor([3]))
        >>> stream.give().flatten().tolist(), stream.give().flatten().tolist()
        ([5, 0], [3])
    """

    def __init__(self, lines: Lines, ahead: int = AHEAD) -> None:
        if lines.words.device.type != "cpu":
            raise ValueError(f"images are streamed from the host's memory, not from {lines.words.device}")
        self.ahead = ahead
        self._lines = lines
        self._asked: deque[tuple[Future[Tensor], _Buffer | None]] = deque()
        self._free: deque[_Buffer] = deque()
        # Its thread ends with the last request when nobody holds the pool any more.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="understudy-images")
        self._copies: torch.cuda.Stream | None = None
        if lines.device.type == "cuda":
            self._copies = torch.cuda.Stream(lines.device)  # type: ignore[no-untyped-call]

    def ask(self, places: Tensor) -> None:
        """Asks for the images at some places, (n,) int64 on the host."""
        buffer = None if self._copies is None else self._buffer(len(places))
        staged = None if buffer is None else buffer.staged[: len(places)]
        self._asked.append((self._pool.submit(_taken, self._lines.words, places, staged), buffer))

    def give(self) -> Tensor:
        """The images asked for longest ago, (n, C, H, W) uint8 on the lines' device.

        Raises:
            IndexError: One of them is not held; or nothing was asked for.
        """
        gathered, buffer = self._asked.popleft()
        words = gathered.result()
        if buffer is None:
            return self._lines.images(words)
        self._send(words, buffer)
        # What is ready already goes along, to be copied beside what will be computed now.
        for later, behind in self._asked:
            if behind is None or not later.done() or later.exception() is not None:
                break
            self._send(later.result(), behind)
        current = torch.cuda.current_stream(self._lines.device)
        current.wait_event(buffer.copied)
        images = self._lines.images(buffer.held[: len(words)], copy=True)
        buffer.taken.record(current)
        buffer.sent = False
        self._free.append(buffer)
        return images

    def _buffer(self, count: int) -> _Buffer:
        """A buffer for so many images; waits, if need be, for the copy from it that is under way."""
        while self._free:
            buffer = self._free.popleft()
            if len(buffer.staged) >= count:
                buffer.copied.synchronize()
                return buffer
        size, device = (count, self._lines.words.shape[1]), self._lines.device
        buffer = _Buffer(
            torch.empty(size, dtype=self._lines.words.dtype, pin_memory=True),
            torch.empty(size, dtype=self._lines.words.dtype, device=device),
        )
        assert self._copies is not None
        buffer.held.record_stream(self._copies)  # not given out again before a copy to it is done
        buffer.taken.record(torch.cuda.current_stream(device))  # what was there before may be in use still
        return buffer

    def _send(self, words: Tensor, buffer: _Buffer) -> None:
        if buffer.sent:
            return
        assert self._copies is not None
        self._copies.wait_event(buffer.taken)
        with torch.cuda.stream(self._copies):
            buffer.held[: len(words)].copy_(words, non_blocking=True)
        buffer.copied.record(self._copies)
        buffer.sent = True


@dataclass
class _Buffer:
    """Memory of one batch on both sides, and how far the device is with it.

    Attributes:
        staged: (n, w) pinned, on the host.
        held: (n, w) on the device.
        copied: The last copy from ``staged`` to ``held`` is done.
        taken: What was in ``held`` has been copied away.
        sent: Whether the copy of what is staged has been asked for.
    """

    staged: Tensor
    held: Tensor
    copied: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    taken: torch.cuda.Event = field(default_factory=torch.cuda.Event)
    sent: bool = False


def _taken(words: Tensor, places: Tensor, staged: Tensor | None) -> Tensor:
    if staged is None:
        return words.index_select(0, places)
    return torch.index_select(words, 0, places, out=staged)
