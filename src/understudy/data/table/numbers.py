"""How vectors are stored: as they are, in half precision, or in eight bits with one scale a vector."""

from __future__ import annotations

import numpy as np

from understudy.data.table.plan import Dtype

_STEPS = 127


def stored(vectors: np.ndarray, dtype: Dtype) -> dict[str, np.ndarray]:
    """The tensors of a shard that hold some vectors.

    In eight bits component j of a vector is ``round(127 · x_j / max|x|)``, and ``scales`` holds
    ``max|x| / 127`` (symmetric rounding to nearest with one scale a vector; a reconstruction, as it is
    commonly done).

    Args:
        vectors: (n, d) float32, finite, no row of zeros.
        dtype: How.

    Returns:
        ``vectors`` and, in eight bits, ``scales``, (n,) float32.

    Example:
        >>> tensors = stored(np.array([[-63.5, 31.6]], dtype=np.float32), "int8")
        >>> tensors["scales"].tolist(), tensors["vectors"].tolist()
        ([0.5], [[-127, 63]])
    """
    if dtype != "int8":
        return {"vectors": vectors.astype(dtype, copy=False)}
    scales = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(_STEPS)
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    steps = np.clip(np.rint(vectors / scales[:, None]), -_STEPS, _STEPS)
    return {"scales": scales, "vectors": steps.astype(np.int8)}


def restored(vectors: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """The vectors that `stored` stored, (n, d) float32.

    Example:
        >>> restored(np.array([[-127, 63]], np.int8), np.array([0.5], np.float32)).tolist()
        [[-63.5, 31.5]]
    """
    plain: np.ndarray = vectors.astype(np.float32, copy=False)
    return plain if scales is None else plain * scales[:, None]
