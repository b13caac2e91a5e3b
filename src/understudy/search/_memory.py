"""How much memory a search takes where nobody says."""

from __future__ import annotations

import torch

_CPU_BYTES = 64 * 2**20
_GPU_BYTES = 768 * 2**20
_SHARE = 16
"""Sorting and merging take a few times the block, and a model may share the card: a sixteenth leaves room."""


def default_block_bytes(device: torch.device | str) -> int:
    """The memory for scores and candidates of a search on a device.

    On a CPU 64 MiB: larger tiles leave the caches and gain nothing. On a GPU 768 MiB, because small tiles
    leave it idle (on an H200, tiles of 64 MiB take 2.7 times the bare product and top-k, tiles of 1 GiB 1.07
    times), but never more than a sixteenth of the memory that is free on it now; what PyTorch keeps for reuse
    counts as free.

    Args:
        device: Where the embeddings are.

    Returns:
        Bytes.

    Example:
        >>> default_block_bytes("cpu") // 2**20
        64
    """
    device = torch.device(device)
    if device.type != "cuda":
        return _CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(_CPU_BYTES // _SHARE, min(_GPU_BYTES, free // _SHARE))


def resolved(block_bytes: int | None, device: torch.device) -> int:
    """The caller's figure, or the device's default.

    Raises:
        ValueError: The figure is not positive.
    """
    if block_bytes is None:
        return default_block_bytes(device)
    if block_bytes < 1:
        raise ValueError(f"block_bytes must be positive, got {block_bytes}")
    return block_bytes
