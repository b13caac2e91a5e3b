"""What teachers have said about images, read from where it is stored a few batches before it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.data.views import sent

Answers = Mapping[str, Tensor]
"""What one teacher says about n items: tensors of n rows by name (``embedding``, ``logits``)."""


class AnswerStream:
    """Takes requests, which a thread of its own looks up in turn, and gives for each what waits for it.

    The thread calls nothing of CUDA, so that it cannot spoil a graph that is being recorded. An error comes
    with the answers that it stands for, however early they were looked up.

    Args:
        stored: By the name of each teacher what looks its answers up: given items whose rows and views lie
            in the host's memory, without their images, it gives tensors there.
        device: Where the answers go.

    Example:
        >>> stream = AnswerStream({"main": lambda items: {"embedding": items.rows[:, None] * 1.0}}, "cpu")
        >>> first, second = [stream.ask(Items(torch.tensor(rows), None)) for rows in ([5, 0], [3])]
        >>> first()["main"]["embedding"].tolist(), second()["main"]["embedding"].tolist()
        ([[5.0], [0.0]], [[3.0]])
    """

    def __init__(self, stored: Mapping[str, Callable[[Items], Answers]], device: torch.device | str) -> None:
        self._stored = dict(stored)
        self._device = torch.device(device)
        # Its thread ends with the last request when nobody holds the pool any more.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="understudy-answers")

    def ask(self, items: Items) -> Callable[[], dict[str, Answers]]:
        """Asks about some items; what is given back waits for the answers, by teacher, on the device."""
        stored = self._stored
        coming = self._pool.submit(lambda: {name: look(items) for name, look in stored.items()})

        def give() -> dict[str, Answers]:
            return {
                teacher: {name: self._on_device(values) for name, values in given.items()}
                for teacher, given in coming.result().items()
            }

        return give

    def _on_device(self, values: Tensor) -> Tensor:
        # from memory that is not pinned a copy waits for the device
        return sent(values.pin_memory() if self._device.type == "cuda" else values, self._device)
