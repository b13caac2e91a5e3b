"""When to stop, agreed upon: several processes stop after the same step, whichever of them was asked."""

from __future__ import annotations

import signal

import torch
import torch.distributed as dist

from understudy.training.processes.distributed import talking, world
from understudy.training.signals import StopRequest


class StopVote:
    """Whether any process has been asked to stop.

    Of several processes each says at every step whether it was asked, and hears at the next step what all
    have said: nobody waits for an answer, and all hear the same one at the same step. The messages stay in
    the host's memory, so that no GPU is waited for.

    Args:
        request: What this process was asked.

    Example:
        >>> request = StopRequest()
        >>> vote = StopVote(request)
        >>> vote()
        >>> request.ask("SIGTERM")
        >>> vote()
        'SIGTERM'
    """

    def __init__(self, request: StopRequest | None) -> None:
        self._request = request
        self._said = torch.zeros(1, dtype=torch.int64)
        self._sent: dist.Work | None = None

    def __call__(self) -> str | None:
        """The signal by which one was asked, asked once a step; of several processes a step before."""
        asked = self._request.signal if self._request is not None else None
        if world() == 1:
            return asked
        heard = self.hear()
        self._said = torch.tensor([signal.Signals[asked].value if asked else 0])
        with talking():
            self._sent = dist.all_reduce(self._said, dist.ReduceOp.MAX, async_op=True)
        return heard

    def hear(self) -> str | None:
        """What all have said last; nobody may leave before."""
        if self._sent is None:
            return None
        with talking():
            self._sent.wait()
        self._sent = None
        number = int(self._said)
        return signal.Signals(number).name if number else None
