"""What a person sees while something long runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Reporter:
    """Progress on standard error: one bar at a time, or a line every so often where no terminal is.

    What cannot be written is lost, and ends nothing.

    Args:
        stream: Where to; default standard error.
        quiet: Say nothing but `say`'s sentences.
        interval: Seconds between plain lines.

    Example:
        >>> import io
        >>> out = io.StringIO()
        >>> with Reporter(out, interval=0.0) as reporter:
        ...     reporter.start("train", total=2)
        ...     reporter.update(2, {"loss": 0.5}, rate=100.0)
        >>> print(out.getvalue().strip())
        train 2/2  loss 0.5000  100 images/s
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, interval: float = 10.0) -> None:
        self._stream = cast("TextIO", _Forgiving(stream or sys.stderr))
        self._quiet = quiet
        self._interval = interval
        self._console = Console(file=self._stream, highlight=False)
        self._bar: Progress | None = None
        self._title = ""
        self._total = 0
        self._last = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def say(self, sentence: str) -> None:
        """Prints one sentence above whatever bar is there."""
        if self._bar is not None:
            self._bar.console.print(sentence, markup=False)
        else:
            print(sentence, file=self._stream, flush=True)

    def start(self, title: str, total: int) -> None:
        """Begins a new piece of work of ``total`` units, ending the one before."""
        self.stop()
        self._title, self._total, self._last = title, total, time.monotonic()
        if self._quiet or not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        self._bar.add_task(title, total=total, detail="")
        self._bar.start()

    def update(self, done: int, parts: Mapping[str, float] | None = None, rate: float | None = None) -> None:
        """Says how far the work is, with what values, at how many images a second."""
        detail = "  ".join(f"{name} {value:.4f}" for name, value in (parts or {}).items())
        if rate is not None:
            detail += f"  {rate:,.0f} images/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, detail=detail)
            return
        now = time.monotonic()
        if not self._quiet and (now - self._last >= self._interval):
            self._last = now
            print(f"{self._title} {done}/{self._total}  {detail}".rstrip(), file=self._stream, flush=True)

    def tick(self, done: int, total: int) -> None:
        """The form of `update` that plain progress callbacks call."""
        if total != self._total and self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=total)
        self._total = total
        self.update(done)

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class _Forgiving:
    """A stream that may fail: a disk that is full under a log, a terminal that is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()
