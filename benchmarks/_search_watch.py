"""Seconds on a device."""

from __future__ import annotations

import time

import torch


class Watch:
    """Adds up the seconds of ``with`` blocks, the device's work included."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._cuda = device.type == "cuda"

    def __enter__(self) -> None:
        self._finish()
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._finish()
        self.seconds += time.perf_counter() - self._start

    def _finish(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()
