"""What a matrix product may lose while a search runs, whatever the training loop allowed itself."""

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


@contextlib.contextmanager
def tf32_products() -> Iterator[None]:
    """Lets float32 products run on the GPU's TF32 units while the block runs.

    Example:
        >>> before = torch.backends.cuda.matmul.fp32_precision
        >>> with tf32_products():
        ...     torch.backends.cuda.matmul.fp32_precision
        'tf32'
        >>> torch.backends.cuda.matmul.fp32_precision == before
        True
    """
    backend = torch.backends.cuda.matmul
    before = backend.fp32_precision
    backend.fp32_precision = "tf32"
    try:
        yield
    finally:
        backend.fp32_precision = before


@contextlib.contextmanager
def float32_sums() -> Iterator[None]:
    """Forbids bf16 products on the GPU to add up in less than float32 while the block runs.

    PyTorch lets them round partial sums to bf16 unless told otherwise, which no bound of the inputs' rounding
    would cover.
    """
    backend = torch.backends.cuda.matmul
    before = backend.allow_bf16_reduced_precision_reduction
    if hasattr(backend, "allow_bf16_reduced_precision_reduction_split_k"):
        before = (before, backend.allow_bf16_reduced_precision_reduction_split_k)
    backend.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        backend.allow_bf16_reduced_precision_reduction = before


def _lowered(precision: str) -> bool:
    return precision in ("tf32", "bf16")
