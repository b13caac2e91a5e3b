"""Feature maps of two networks, checked and brought to one size."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._distances import at_least_float32


def check_maps(name: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Checks the feature maps of one layer on both sides.

    Args:
        name: The loss's name, for the message.
        student: (n, cS, hS, wS) floating-point tensor.
        teacher: (n, cT, hT, wT) floating-point tensor on the same device.

    Returns:
        The student, at least float32, and the teacher in the student's type and cut off from its graph.

    Raises:
        ValueError: On a wrong shape, type, device or number of rows.
    """
    for side, x in (("student", student), ("teacher", teacher)):
        if x.ndim != 4 or 0 in x.shape:
            raise ValueError(
                f"{name} needs non-empty (rows, channels, height, width) maps for the {side}, "
                f"got shape {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"{name} needs floating-point maps for the {side}, got {x.dtype}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"{name} needs one teacher map for each student map, got {student.shape[0]} student maps "
            f"and {teacher.shape[0]} teacher maps"
        )
    if student.device != teacher.device:
        raise ValueError(f"{name} needs both maps on one device, got {student.device} and {teacher.device}")
    student = at_least_float32(student)
    return student, teacher.detach().to(student.dtype)


def to_one_size(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Averages the finer of two maps over the cells of the coarser, for each axis by itself.

    Averages by area (a cell that lies in two counts in both by its share), as two matrix products: unlike
    torch's adaptive pooling, the gradient is deterministic on CUDA.

    Args:
        x: (n, c, h, w).
        y: (n, c', h', w').

    Returns:
        Both at min(h, h') × min(w, w').

    Example:
        >>> x, y = to_one_size(torch.tensor([[[[0.0, 3.0, 6.0]]]]), torch.zeros(1, 1, 4, 2))
        >>> x, y.shape
        (tensor([[[[1., 5.]]]]), torch.Size([1, 1, 1, 2]))
    """
    height, width = min(x.shape[2], y.shape[2]), min(x.shape[3], y.shape[3])
    return _pool(x, height, width), _pool(y, height, width)


def _pool(x: Tensor, height: int, width: int) -> Tensor:
    if x.shape[2] != height:
        x = _averaging(x.shape[2], height, x) @ x
    if x.shape[3] != width:
        x = x @ _averaging(x.shape[3], width, x).T
    return x


def _averaging(cells: int, groups: int, like: Tensor) -> Tensor:
    """(groups, cells) matrix of rows that sum to 1: each group is the mean of the cells under it."""
    edges = torch.arange(cells + 1, device=like.device, dtype=like.dtype) * groups  # in 1/(cells·groups)
    bounds = torch.arange(groups + 1, device=like.device, dtype=like.dtype).unsqueeze(1) * cells
    overlap = torch.minimum(bounds[1:], edges[1:]) - torch.maximum(bounds[:-1], edges[:-1])
    return overlap.clamp_min(0) / cells
