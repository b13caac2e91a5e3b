"""What teachers have said about images, read from where it is stored a few batches before it is needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.data.views import sent

Answers = Mapping[str, Tensor]
"""What one teacher says about n items: tensors of n rows by name (``embedding``, ``logits``)."""


class AnswerStream:
    """Gives what was asked for, in that order; a thread of its own looks it up meanwhile.

    The thread calls nothing of CUDA, so that it cannot spoil a graph that is being recorded. An error comes
    with the answers that it stands for, however early they were looked up.

    Args:
        stored: By the name of each teacher what looks its answers up: given items whose rows and views lie
            in the host's memory, without their images, it gives tensors there.
        device: Where the answers go.

    Example:
        >>> stream = AnswerStream({"main": lambda items: {"embedding": items.rows[:, None] * 1.0}}, "cpu")
        >>> stream.ask(Items(torch.tensor([5, 0]), None))
        >>> stream.ask(Items(torch.tensor([3]), None))
        >>> stream.give()["main"]["embedding"].tolist(), stream.give()["main"]["embedding"].tolist()
        ([[5.0], [0.0]], [[3.0]])
    """

    def __init__(self, stored: Mapping[str, Callable[[Items], Answers]], device: torch.device | str) -> None:
        self._stored = dict(stored)
        self._device = torch.device(device)
        self._asked: deque[Future[dict[str, Answers]]] = deque()
        # Its thread ends with the last request when nobody holds the pool any more.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="understudy-answers")

    def ask(self, items: Items) -> None:
        """Asks about some items."""
        stored = self._stored
        self._asked.append(self._pool.submit(lambda: {name: look(items) for name, look in stored.items()}))

    def give(self) -> dict[str, Answers]:
        """The answers asked for longest ago, by teacher, on the device.

        Raises:
            IndexError: Nothing was asked for.
        """
        answers = self._asked.popleft().result()
        return {
            teacher: {name: self._on_device(values) for name, values in given.items()}
            for teacher, given in answers.items()
        }

    def _on_device(self, values: Tensor) -> Tensor:
        # from memory that is not pinned a copy waits for the device
        return sent(values.pin_memory() if self._device.type == "cuda" else values, self._device)
