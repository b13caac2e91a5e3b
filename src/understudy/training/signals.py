"""A clean stop on SIGINT and SIGTERM: the step under way is finished and a checkpoint written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from understudy.training.processes import distributed


class Stopped(Exception):
    """A run ended early because it was asked to; it can go on from its checkpoint."""


class StopRequest:
    """Whether somebody has asked the run to stop.

    Attributes:
        signal: By which signal, or None.
        outside: Where the run is when there is no step under way to wait for, so that a signal raises
            `Stopped` at once; None: there is one.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.outside: str | None = None

    def ask(self, name: str) -> None:
        """Asks for a stop after the step under way.

        Raises:
            Stopped: There is none.
        """
        self.signal = name
        self.leave(self.outside)

    def leave(self, outside: str | None) -> None:
        """Says where the run is from now on.

        Args:
            outside: See the attribute.

        Raises:
            Stopped: It is outside its steps, and somebody has asked already.
        """
        self.outside = outside
        if outside is not None and self.signal is not None:
            raise Stopped(f"stopped by {self.signal} {outside}")


@contextlib.contextmanager
def listening() -> Iterator[StopRequest]:
    """Turns SIGINT and SIGTERM into a request; a second SIGINT interrupts a process that is alone at once.

    Of several processes each may be sent the same SIGINT twice, by the terminal and by the launcher.

    Outside the main thread Python takes no signals: the request is then simply never made.

    Example:
        >>> import os
        >>> with listening() as request:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     request.signal
        'SIGTERM'
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if request.signal is not None and number == signal.SIGINT and distributed.world() == 1:
            raise KeyboardInterrupt
        request.ask(signal.Signals(number).name)

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
