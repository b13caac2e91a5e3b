"""Full float32 products, whatever the training loop allowed itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Turns TF32 (on the GPU) and bf16 (on the CPU) matrix products off while the block runs.

    Training often lets float32 products lose mantissa bits; a ranking called exact must not. Autocast needs
    no care here: it leaves products that write into a given tensor alone.

    Example:
        >>> torch.set_float32_matmul_precision("high")
        >>> with full_float32():
        ...     torch.backends.cuda.matmul.fp32_precision
        'ieee'
        >>> torch.get_float32_matmul_precision()
        'high'
        >>> torch.set_float32_matmul_precision("highest")
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    lowered = [(backend, backend.fp32_precision) for backend in backends if _lowered(backend.fp32_precision)]
    for backend, _ in lowered:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, before in lowered:
            backend.fp32_precision = before


def _lowered(precision: str) -> bool:
    return precision in ("tf32", "bf16")
