"""Attention transfer: where in the image a layer of the student is active follows the teacher's layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.losses._maps import check_maps, to_one_size
from understudy.losses._relations import unit


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean distance between the normalised spatial attention of two feature maps.

    L = mean_i ‖ Q^S_i/‖Q^S_i‖₂ − Q^T_i/‖Q^T_i‖₂ ‖₂ with Q = Σ_c A_c², flattened over places. This is spatial
    attention of a convolutional layer, not the self-attention of a transformer. Maps of different size: the
    finer attention is averaged over the cells of the coarser.

    Source: Zagoruyko and Komodakis, ICLR 2017, in the form Yu et al., CVPR 2019, describe; their layers and
    weights are not published: reconstruction. Labels: none. Channels and sizes: may differ. Teacher: white
    box. Relations: none; :func:`~understudy.losses.hint` also matches the channels.

    Args:
        student: (n, cS, hS, wS) maps.
        teacher: (n, cT, hT, wT) maps of the same images.

    Raises:
        ValueError: On wrong shapes.

    Example:
        >>> student = torch.tensor([[[[2.0, 0.0]]]])
        >>> attention_transfer(student, torch.tensor([[[[5.0, 0.0]]]]))
        tensor(0.)
        >>> attention_transfer(student, torch.tensor([[[[0.0, 5.0]]]]))
        tensor(1.4142)
    """
    student, teacher = check_maps("attention_transfer", student, teacher)
    with torch.autocast(student.device.type, enabled=False):
        attended, wanted = to_one_size(_attention(student), _attention(teacher))
        difference = unit(attended.flatten(1)) - unit(wanted.flatten(1))
        distances: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return distances.mean()


def _attention(maps: Tensor) -> Tensor:
    return maps.square().sum(1, keepdim=True)


class AttentionTransfer(nn.Module):
    """The module of :func:`attention_transfer`.

    Example:
        >>> AttentionTransfer()(torch.ones(2, 8, 4, 4), torch.ones(2, 16, 7, 7)) < 1e-6
        tensor(True)
    """

    inputs: ClassVar[tuple[str, ...]] = ("maps",)
    capturable: ClassVar[bool] = True

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See :func:`attention_transfer`.

        Args:
            student: (n, cS, hS, wS) maps.
            teacher: (n, cT, hT, wT) maps; no gradient flows into them.
        """
        return attention_transfer(student, teacher)
