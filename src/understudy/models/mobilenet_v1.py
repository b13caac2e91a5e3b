"""MobileNetV1 at any width."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from understudy.models._blocks import ConvBlock, init_convolutions

_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
_HALVING = {2, 4, 6, 12}


class MobileNetV1(nn.Module):
    """Thirteen depthwise separable convolutions behind one plain one.

    Source: Howard et al., "MobileNets", arXiv 1704.04861, table 1, with its width multiplier; ReLU6 as in the
    released networks. Width 0.25 has 213,072 parameters and 256 channels out.

    Args:
        width: The multiplier of every layer's channels, which are rounded to multiples of 8.
        channels: Channels of the input images.

    Example:
        >>> import torch
        >>> MobileNetV1(0.25)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 256, 2, 2])
    """

    def __init__(self, width: float = 0.25, channels: int = 3) -> None:
        super().__init__()
        widths = [max(8, int(w * width + 4) // 8 * 8) for w in _WIDTHS]
        self.stem = ConvBlock(channels, widths[0], 3, 2)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(ConvBlock(i, i, 3, 2 if n in _HALVING else 1, groups=i), ConvBlock(i, o, 1))
                for n, (i, o) in enumerate(pairwise(widths), start=1)
            )
        )
        for module in self.modules():
            if isinstance(module, ConvBlock):
                module.act = nn.ReLU6(inplace=True)
        self.out_channels = widths[-1]
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, H, W) to (n, 1024 × width, H/32, W/32)."""
        out: Tensor = self.blocks(self.stem(x))
        return out
