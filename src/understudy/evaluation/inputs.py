"""Embeddings and labels as people hold them, brought to tensors and checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError

Vectors = Tensor | np.ndarray
Labels = Tensor | np.ndarray | Sequence[int]

_NAMED = 3


def as_vectors(name: str, vectors: Vectors, device: torch.device | None = None) -> Tensor:
    """Embeddings as a floating-point matrix.

    Args:
        name: What they are, for the message.
        vectors: (n, d), NumPy or torch, on any device.
        device: Where to put them; by default they stay where they are.

    Returns:
        (n, d) tensor; half precision and double are kept.

    Raises:
        ValueError: Not an (n, d) matrix of floating-point numbers.
        UserError: Rows that are not finite, or too large to be squared, naming the first of them.

    Example:
        >>> as_vectors("student", np.array([[0.0, 1.0], [float("nan"), 0.0]]))
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: the student embeddings are not finite in 1 of 2 rows (1): the ...
    """
    if isinstance(vectors, np.ndarray):
        if min(vectors.strides, default=0) < 0 or not vectors.dtype.isnative:  # which PyTorch does not take
            vectors = np.ascontiguousarray(vectors, vectors.dtype.newbyteorder("="))
        vectors = torch.from_numpy(vectors if vectors.flags.writeable else vectors.copy())
    if vectors.ndim != 2 or vectors.shape[1] == 0 or not vectors.is_floating_point():
        raise ValueError(
            f"the {name} embeddings must be a floating-point (rows, dim) matrix, "
            f"got {vectors.dtype} of shape {tuple(vectors.shape)}"
        )
    lengths = torch.linalg.vector_norm(
        vectors.detach(), dim=1, dtype=torch.promote_types(vectors.dtype, torch.float32)
    )
    bad = (~torch.isfinite(4 * lengths.square())).nonzero()[:, 0].tolist()  # as `understudy.search` asks
    if bad:
        named = ", ".join(map(str, bad[:_NAMED])) + (", …" if len(bad) > _NAMED else "")
        finite = bool(torch.isfinite(vectors[bad]).all())
        raise UserError(
            f"the {name} embeddings are {'too large' if finite else 'not finite'} in {len(bad)} of "
            f"{len(vectors)} rows ({named}): the model that made them has diverged, train it again"
        )
    return vectors.detach().to(device) if device is not None else vectors.detach()


def as_labels(name: str, labels: Labels, count: int, device: torch.device, *, what: str = "labels") -> Tensor:
    """Class numbers as an int64 tensor; negative means unlabelled.

    Args:
        name: Whose they are, for the message.
        labels: (n,) integers.
        count: How many there must be.
        device: Where to put them.
        what: What the numbers stand for, for the message.

    Raises:
        ValueError: Not one whole number for each embedding.

    Example:
        >>> as_labels("student", [3, -1], 2, torch.device("cpu"))
        tensor([ 3, -1])
    """
    codes = labels if isinstance(labels, Tensor) else np.asarray(labels)
    if isinstance(codes, Tensor):
        whole = not (codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool)
    else:
        whole = codes.dtype.kind in "iu" or count == 0  # an empty list is of no type
    if codes.shape != (count,) or not whole:
        raise ValueError(
            f"the {name} {what} must be {count} whole numbers, one for each embedding, "
            f"got {codes.dtype} of shape {tuple(codes.shape)}"
        )
    if not isinstance(codes, Tensor):
        codes = torch.from_numpy(codes.astype(np.int64))
    return codes.to(device, torch.int64)


def as_pair(
    reference: tuple[Vectors, Vectors], queries: int, gallery: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Another model's embeddings of the same queries and the same gallery.

    Args:
        reference: (n, d) and (m, d).
        queries: How many queries there are, n.
        gallery: How many gallery items, m.
        device: Where to put them.

    Raises:
        ValueError: Other numbers of rows, or no embeddings.
        UserError: Rows that are not finite.
    """
    query = as_vectors("teacher's query", reference[0], device)
    base = as_vectors("teacher's gallery", reference[1], device)
    if (len(query), len(base)) != (queries, gallery):
        raise ValueError(
            f"the reference must hold {queries} queries and {gallery} gallery items, "
            f"got {len(query)} and {len(base)}"
        )
    return query, base
