"""From a feature map to one vector an image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

PoolingName = Literal["avg", "max", "gem", "avg+max"]


class AveragePooling(nn.Module):
    """The mean over all positions.

    Example:
        >>> AveragePooling()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[3.]])
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C)."""
        return maps.mean((2, 3))


class MaxPooling(nn.Module):
    """The largest value over all positions.

    Example:
        >>> MaxPooling()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[6.]])
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C)."""
        return maps.amax((2, 3))


class AverageMaxPooling(nn.Module):
    """The sum, not the mean, of the average and the maximum, as S2SD's MSDFA pools (Roth et al., ICML 2021).

    Example:
        >>> AverageMaxPooling()(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]]))
        tensor([[9.]])
    """

    def forward(self, maps: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C)."""
        return maps.mean((2, 3)) + maps.amax((2, 3))


class GeMPooling(nn.Module):
    """Generalised mean: (mean of x^p)^(1/p), with one learnable p.

    Values below ``eps`` are raised to it, so a map with negative values loses them; p = 1 is the average and
    p → ∞ the maximum. Half precision is raised to float32 within, and values are seen relative to the largest
    of their map: where p grows past 6, a channel of eps everywhere would otherwise become 0 and its slope
    infinite.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2018,
    equation 3, with one p for all channels.

    Args:
        p: Where the learnable exponent starts.
        eps: The smallest value a position may have.

    Example:
        >>> GeMPooling(p=2.0)(torch.tensor([[[[1.0, 7.0]]]]))
        tensor([[5.]], grad_fn=<MulBackward0>)
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C)."""
        x = maps.to(torch.promote_types(maps.dtype, torch.float32)).clamp(min=self.eps)
        # A constant in the gradient too: what it is changes nothing but the rounding.
        top = x.detach().amax((2, 3), keepdim=True)
        return ((x / top).pow(self.p).mean((2, 3)).pow(1 / self.p) * top[..., 0, 0]).to(maps.dtype)


POOLINGS: dict[PoolingName, type[nn.Module]] = {
    "avg": AveragePooling,
    "max": MaxPooling,
    "gem": GeMPooling,
    "avg+max": AverageMaxPooling,
}
