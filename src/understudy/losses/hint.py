"""Hints: a feature map of the student, seen through a 1×1 convolution, matches one of the teacher's."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.losses._maps import check_maps, to_one_size


def hint(student: Tensor, teacher: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The mean squared difference between the regressed student map and the teacher map.

    L = mean over rows, channels and places of (r(A^S) − A^T)², r a 1×1 convolution. Maps of different size
    are brought to the coarser one by averaging (which commutes with r). The mean over all elements, instead
    of the papers' sum, keeps the weight independent of the layer's size.

    Source: Romero et al., "FitNets", ICLR 2015, and Yu et al., CVPR 2019, where layers and weights are not
    published: reconstruction. Labels: none. Dimensions: may differ. Teacher: white box. Relations: none;
    :func:`~understudy.losses.attention_transfer` needs no regressor.

    Args:
        student: (n, cS, hS, wS) maps.
        teacher: (n, cT, hT, wT) maps of the same images.
        weight: (cT, cS, 1, 1), the regressor.
        bias: (cT,) or None.

    Raises:
        ValueError: On wrong shapes, or channels that do not fit the regressor.

    Example:
        >>> student, teacher = torch.ones(1, 2, 2, 2), torch.ones(1, 1, 1, 1)
        >>> hint(student, teacher, torch.full((1, 2, 1, 1), 1.5))
        tensor(4.)
    """
    student, teacher = check_maps("hint", student, teacher)
    if (teacher.shape[1], student.shape[1]) != tuple(weight.shape[:2]):
        raise ValueError(
            f"hint's regressor goes from {weight.shape[1]} to {weight.shape[0]} channels, got maps of "
            f"{student.shape[1]} and {teacher.shape[1]}"
        )
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = to_one_size(student, teacher)
        bias = None if bias is None else bias.to(student.dtype)
        regressed = F.conv2d(student, weight.to(student.dtype), bias)
    return F.mse_loss(regressed, teacher)


class Hint(nn.Module):
    """The module of :func:`hint`, which owns the regressor: a parameter to train, no part of the student.

    Args:
        student_channels: Channels of the student's map.
        teacher_channels: Channels of the teacher's map.

    Example:
        >>> loss = Hint(student_channels=8, teacher_channels=16)
        >>> loss(torch.zeros(2, 8, 4, 4), torch.zeros(2, 16, 7, 7)).shape
        torch.Size([])
    """

    inputs: ClassVar[tuple[str, ...]] = ("maps",)
    capturable: ClassVar[bool] = True

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__()
        for side, channels in (("student", student_channels), ("teacher", teacher_channels)):
            if channels < 1:
                raise ValueError(f"hint needs at least 1 {side} channel, got {channels}")
        self.regressor = nn.Conv2d(student_channels, teacher_channels, kernel_size=1)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :func:`hint`.

        Args:
            student: (n, student_channels, hS, wS) maps.
            teacher: (n, teacher_channels, hT, wT) maps; no gradient flows into them.
        """
        return hint(student, teacher, self.regressor.weight, self.regressor.bias)
