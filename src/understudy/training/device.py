"""Which device, and at which precision."""

from __future__ import annotations

import platform

import torch

from understudy.errors import UserError


def find_device(name: str) -> torch.device:
    """The device a configuration names; ``auto`` takes CUDA where there is some.

    Raises:
        UserError: There is no such device here.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"the device {name!r} cannot be used here: pass 'cpu' or 'auto'") from None
    return device


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
