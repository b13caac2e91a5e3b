"""How long the GPUs have worked for a study, over all its starts."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from understudy.files import write_json


class Spending:
    """Counts seconds × GPUs while runs are under way, and keeps the sum in a file.

    Runs side by side on one GPU share its time, so their own seconds say little of what was spent. A process
    that is killed loses what it spent since the last run was finished.

    Args:
        file: Where the sum is kept.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "spent.json"
        >>> with Spending(file).on(gpus=2) as spending:
        ...     time.sleep(0.01)
        >>> spending.gpu_seconds == Spending(file).gpu_seconds > 0.02
        True
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.gpu_seconds = 0.0
        self._gpus = 0
        self._since = 0.0
        with contextlib.suppress(OSError, ValueError):
            self.gpu_seconds = float(json.loads(file.read_text(encoding="utf-8"))["gpu_seconds"])

    @contextlib.contextmanager
    def on(self, gpus: int) -> Iterator[Spending]:
        """Counts while it is entered."""
        self._gpus, self._since = gpus, time.monotonic()
        try:
            yield self
        finally:
            self.note()
            self._gpus = 0

    def note(self) -> None:
        """Writes down what was spent up to now."""
        now = time.monotonic()
        self.gpu_seconds += self._gpus * (now - self._since)
        self._since = now
        if self._gpus:
            write_json(self._file, {"gpu_seconds": self.gpu_seconds})
