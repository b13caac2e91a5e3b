"""The NaN guard: a run stops at the first value that is not a number, and says which."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.training.processes.distributed import any_process, gather_objects, world


class NotFinite(Exception):
    """A loss or gradient became NaN or infinite; the message names the step and the part."""


class Diverged(UserError):
    """A run that ended because a loss or gradient became NaN or infinite.

    Args:
        what: What became so, and at which step.
        cure: What helps.
    """

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}: {cure}")
        self.what, self.cure = what, cure

    def __reduce__(self) -> tuple[type[Diverged], tuple[str, str]]:
        """Made anew of both parts where it comes out of another process."""
        return type(self), (self.what, self.cure)


class NaNGuard:
    """Watches the parts of the loss and the norm of the gradient.

    On the CPU a bad value is seen at once, before it reaches the weights. On other devices the first bad step
    and part are latched there, and `check` reads the latch: the loop calls it at its logging interval and
    before each checkpoint, so that a checkpoint is always good. From the bad step on `found_inf` is 1, which
    fused optimisers read to leave the weights alone.

    Of several processes all raise the same sentence at the same step, whichever of them saw the value: on the
    CPU when they `agree`, before the update of each step, on other devices in `check`.

    Attributes:
        found_inf: A scalar on the device, 1 once a bad value was seen; None on the CPU.

    Example:
        >>> guard = NaNGuard(torch.device("cpu"))
        >>> guard.watch(3, {"loss": torch.tensor(1.0), "pkt": torch.tensor(float("nan"))})
        Traceback (most recent call last):
        ...
        understudy.training.guard.NotFinite: the loss part 'pkt' became nan at step 3
    """

    def __init__(self, device: torch.device) -> None:
        self._immediate = device.type == "cpu"
        self._seen: tuple[bool, str] | None = None
        self._latch = torch.full((2,), -1, dtype=torch.int64, device=device)
        self._names: list[str] = []
        self.found_inf = None if self._immediate else torch.zeros((), device=device)

    def watch(self, step: int | Tensor, values: Mapping[str, Tensor]) -> None:
        """Looks at one step's values, each a scalar tensor.

        Args:
            step: The step's number; on the device where the call is recorded in a graph.
            values: The parts by name.

        Raises:
            NotFinite: On the CPU, at once where there is no other process.
        """
        names = sorted(values, key=lambda name: name == "loss")  # a part says more than the sum
        if self._immediate:
            for name in names:
                value = float(values[name].detach())
                if not math.isfinite(value) and self._seen is None:
                    self._seen = (name == "gradient", _sentence(name, value, int(step)))
                    if world() == 1:
                        raise NotFinite(self._seen[1])
            return
        if names[0] not in self._names:
            self._names += names
        finite = torch.stack([torch.isfinite(values[name].detach()).all() for name in names])
        part = torch.argmin(finite.int()) + self._names.index(names[0])
        number = step if isinstance(step, Tensor) else torch.full_like(part, step)
        seen = torch.stack([number, part])
        self._latch.copy_(torch.where((self._latch[0] < 0) & ~finite.all(), seen, self._latch))
        if self.found_inf is not None:
            self.found_inf.copy_(self._latch[0] >= 0)

    def agree(self) -> None:
        """Asks the other processes what they saw in this step; where that must wait for a GPU, `check` does.

        Raises:
            NotFinite: One of them saw a bad value.
        """
        if self._immediate and world() > 1 and any_process(self._seen is not None):
            # the gradient of all is bad wherever a part of one is
            raise NotFinite(min(seen for seen in gather_objects(self._seen) if seen is not None)[1])

    def check(self) -> None:
        """Reads the latch, of all processes.

        Raises:
            NotFinite: A bad value was seen since the start.
        """
        if self._immediate:
            return
        latches = gather_objects(self._latch.tolist())
        step, part = min((latch for latch in latches if latch[0] >= 0), default=(-1, -1))
        if step >= 0:
            raise NotFinite(_sentence(self._names[part], None, step))


def _sentence(name: str, value: float | None, step: int) -> str:
    kind = "nan or infinite" if value is None else "nan" if math.isnan(value) else "infinite"
    what = "the gradient" if name == "gradient" else f"the loss part {name!r}"
    return f"{what} became {kind} at step {step}"
