"""Whether an error means that there was not memory enough, in whatever words it says so."""

from __future__ import annotations

import torch

_WORDS = ("out of memory", "can't allocate memory", "cublas_status_alloc_failed", "cudnn_status_alloc_failed")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the memory of the computer or of a GPU ran out.

    Example:
        >>> ran_out(MemoryError()), ran_out(RuntimeError("CUDA out of memory.")), ran_out(RuntimeError())
        (True, True, False)
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
