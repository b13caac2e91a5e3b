"""What a teacher that is not ours must answer: one finite vector for each image, always of one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.items import Items
from understudy.errors import UserError

_NAMED = 3


def as_matrix(answer: Any, teacher: str, what: str = "embedding") -> Tensor:
    """What a teacher gave for n images as (n, d) float32; trailing sides of length 1 are dropped.

    Args:
        answer: A tensor, an array, or n lists of numbers.
        teacher: Its name.
        what: What the answer is called.

    Raises:
        UserError: It is no matrix of numbers.

    Example:
        >>> as_matrix([[1, 2], [3, 4]], "api").dtype, as_matrix(torch.ones(2, 3, 1, 1), "pool").shape
        (torch.float32, torch.Size([2, 3]))
    """
    try:
        plain = answer if isinstance(answer, Tensor) else torch.from_numpy(_array(answer))
        matrix = plain.detach().float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"the teacher {teacher!r} gave a {type(answer).__name__} as {what} ({error}): it must give an "
            "array of one vector for each image, all of one length"
        ) from error
    while matrix.dim() > 2 and matrix.shape[-1] == 1:
        matrix = matrix.squeeze(-1)
    if matrix.dim() != 2:
        raise UserError(
            f"the teacher {teacher!r} gave {what} of shape {tuple(plain.shape)}: it must give (images, "
            "dimension), pool what has more sides first"
        )
    return matrix


def check(answer: Tensor, items: Items, dim: int | None, teacher: str, ids: Sequence[str] | None) -> None:
    """Refuses answers that cannot be learnt from.

    Args:
        answer: (n, d) float32.
        items: What was asked about.
        dim: The dimension it has answered with so far; None: this is the first time.
        teacher: Its name.
        ids: The name of each manifest row, where that is known.

    Raises:
        UserError: Another number of vectors, another dimension, NaN or infinity, or nothing but zeros; the
            first images are named.
    """
    if len(answer) != len(items):
        raise UserError(
            f"the teacher {teacher!r} gave {len(answer)} vectors for {len(items)} images: "
            "it must give one for each, in their order"
        )
    if dim is not None and answer.shape[1] != dim:
        raise UserError(
            f"the teacher {teacher!r} gave vectors of {answer.shape[1]} numbers from "
            f"{named(items.rows[:1], ids)} on and of {dim} before: it must keep to one dimension"
        )
    for bad, fault in (
        (~torch.isfinite(answer).all(1), "NaN or infinity"),
        (~answer.any(1), "nothing but zeros"),
    ):
        if bool(bad.any()):
            rows = items.rows.to(bad.device)[bad]
            raise UserError(
                f"the teacher {teacher!r} gave {fault} for {len(rows)} of {len(items)} images "
                f"({named(rows, ids)}): mend it, or leave these images out of the data"
            )


def named(rows: Tensor, ids: Sequence[str] | None) -> str:
    """What to call some images: the first few by their names, or by their rows.

    Example:
        >>> named(torch.tensor([1, 0]), ["a.png", "b.png"]), named(torch.tensor([4, 5, 6, 7]), None)
        ("'b.png', 'a.png'", 'rows 4, 5, 6, …')
    """
    numbers = rows[:_NAMED].tolist()
    known = ids is not None and all(0 <= row < len(ids) for row in numbers)
    words = ", ".join(repr(ids[row]) if known and ids is not None else str(row) for row in numbers)
    return (
        ("" if known else "rows " if len(rows) > 1 else "row ")
        + words
        + (", …" if len(rows) > _NAMED else "")
    )


def _array(answer: Any) -> np.ndarray:
    if isinstance(answer, Sequence) and any(isinstance(row, Tensor) for row in answer):
        return torch.stack([torch.as_tensor(row) for row in answer]).numpy()
    return np.asarray(answer, dtype=np.float32)
