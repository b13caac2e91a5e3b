"""Small constant tensors where they are needed: in plain, recorded and compiled computations."""

from __future__ import annotations

import functools

import torch
from torch import Tensor


def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """A vector of constants on a device, copied there once.

    A copy from the host's memory would break the recording of a CUDA graph, so it is kept; a compiler, which
    cannot look into what is kept, is given the numbers themselves.

    Args:
        values: The numbers.
        device: Where they are needed.
        dtype: Their type.

    Returns:
        (len(values),) of that type; not to be written to.

    Example:
        >>> constant((0.5, 2.0), torch.device("cpu"))
        tensor([0.5000, 2.0000])
    """
    if torch.compiler.is_compiling():
        return torch.stack([torch.full((), value, device=device, dtype=dtype) for value in values])
    return _kept(values, device, dtype)


@functools.lru_cache(maxsize=256)
def _kept(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype).to(device)
