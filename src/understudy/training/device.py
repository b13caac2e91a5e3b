"""Which device, and at which precision."""

from __future__ import annotations

import contextlib
import platform
from contextlib import AbstractContextManager

import torch

from understudy.errors import UserError
from understudy.training.processes import distributed


def find_device(name: str) -> torch.device:
    """The device a configuration names; ``auto`` takes CUDA where there is some.

    Each of several processes takes the GPU of its own number on its machine.

    Raises:
        UserError: There is no such device here.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if distributed.world() > 1 and name.startswith("cuda"):
        name = _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"the device {name!r} cannot be used here: pass 'cpu' or 'auto'") from None
    return device


def working_on(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the current one, on whose streams a step is recorded; nothing for other devices.

    Example:
        >>> with working_on(torch.device("cpu")):
        ...     pass
    """
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def _own_gpu(name: str) -> str:
    number, count = distributed.local_rank(), torch.cuda.device_count()
    if name != "cuda":
        raise UserError(f"the device {name!r} is one for all processes: pass 'auto', 'cuda' or 'cpu'")
    if number >= count:
        raise UserError(
            f"process {number} of this machine has no GPU of its own, there are {count}: start torchrun with "
            f"--nproc-per-node {max(1, count)}, or pass 'cpu'"
        )
    return f"cuda:{number}"


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Whether models run in bfloat16: when asked to, or by default on a GPU that computes it natively."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def hardware(device: torch.device) -> str:
    """What a device is, for records.

    Example:
        >>> "threads" in hardware(torch.device("cpu"))
        True
    """
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} {platform.machine()} threads"
