"""The NaN guard: a run stops at the first value that is not a number, and says which."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class NotFinite(Exception):
    """A loss or gradient became NaN or infinite; the message names the step and the part."""


class NaNGuard:
    """Watches the parts of the loss and the norm of the gradient.

    On the CPU a bad value is seen at once, before it reaches the weights. On other devices the first bad step
    and part are latched there, and `check` reads the latch: the loop calls it at its logging interval and
    before each checkpoint, so that a checkpoint is always good.

    Example:
        >>> guard = NaNGuard(torch.device("cpu"))
        >>> guard.watch(3, {"loss": torch.tensor(1.0), "pkt": torch.tensor(float("nan"))})
        Traceback (most recent call last):
        ...
        understudy.training.guard.NotFinite: the loss part 'pkt' became nan at step 3
    """

    def __init__(self, device: torch.device) -> None:
        self._immediate = device.type == "cpu"
        self._latch = torch.full((2,), -1, dtype=torch.int64, device=device)
        self._names: list[str] = []

    def watch(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Looks at one step's values, each a scalar tensor.

        Raises:
            NotFinite: On the CPU, at once.
        """
        names = sorted(values, key=lambda name: name == "loss")  # a part says more than the sum
        if self._immediate:
            for name in names:
                value = float(values[name].detach())
                if not math.isfinite(value):
                    raise NotFinite(_sentence(name, value, step))
            return
        if names[0] not in self._names:
            self._names += names
        finite = torch.stack([torch.isfinite(values[name].detach()).all() for name in names])
        part = torch.argmin(finite.int()) + self._names.index(names[0])
        seen = torch.stack([torch.full_like(part, step), part])
        self._latch = torch.where((self._latch[0] < 0) & ~finite.all(), seen, self._latch)

    def check(self) -> None:
        """Reads the latch.

        Raises:
            NotFinite: A bad value was seen since the start.
        """
        if self._immediate:
            return
        step, part = self._latch.tolist()
        if step >= 0:
            raise NotFinite(_sentence(self._names[part], None, step))


def _sentence(name: str, value: float | None, step: int) -> str:
    kind = "nan or infinite" if value is None else "nan" if math.isnan(value) else "infinite"
    what = "the gradient" if name == "gradient" else f"the loss part {name!r}"
    return f"{what} became {kind} at step {step}"
