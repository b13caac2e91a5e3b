"""Network in Network with batch normalisation: DarkRank's student."""

from __future__ import annotations

from torch import Tensor, nn

from understudy.models._blocks import ConvBlock, init_convolutions


class NINBN(nn.Module):
    """Four groups of one spatial and two 1×1 convolutions, with a max pool between them; 1024 channels out.

    Source: Lin, Chen, Yan, "Network In Network", ICLR 2014, in its ImageNet form, with batch normalisation
    after every convolution and the last 1×1 convolution of width 1024 instead of one channel a class, as
    DarkRank's published code has it (Chen, Wang, Zhang, AAAI 2018). Pooled, it is DarkRank's 1024-dimensional
    embedding: build it with ``dim=None``.

    It has 7,625,056 parameters, the paper's 7.6 M. The published network has 5,280 more: biases that the
    batch normalisation after them cancels, left out here.

    Args:
        channels: Channels of the input images.
        dropout: Share of channels-and-positions dropped before the last group, in training only.

    Example:
        >>> import torch
        >>> NINBN()(torch.zeros(1, 3, 224, 112)).shape
        torch.Size([1, 1024, 6, 3])
    """

    def __init__(self, channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.group1 = _group(channels, 96, kernel=11, stride=4, padding=0)
        self.group2 = _group(96, 256, kernel=5)
        self.group3 = _group(256, 384, kernel=3)
        self.dropout = nn.Dropout(dropout)
        self.group4 = _group(384, 1024, kernel=3)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.out_channels = 1024
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, H, W) to (n, 1024, about H/32, about W/32)."""
        x = self.pool(self.group1(x))
        x = self.pool(self.group2(x))
        x = self.dropout(self.pool(self.group3(x)))
        out: Tensor = self.group4(x)
        return out


def _group(
    inputs: int, width: int, *, kernel: int, stride: int = 1, padding: int | None = None
) -> nn.Sequential:
    return nn.Sequential(
        ConvBlock(inputs, width, kernel, stride, padding),
        ConvBlock(width, width, 1),
        ConvBlock(width, width, 1),
    )
