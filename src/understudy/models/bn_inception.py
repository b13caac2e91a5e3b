"""Inception with batch normalisation: DarkRank's teacher and one of S2SD's networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.models._blocks import ConvBlock, init_convolutions


class BNInception(nn.Module):
    """Ten Inception modules whose 5×5 branch is two 3×3 convolutions; 1024 channels out.

    Source: Ioffe, Szegedy, "Batch Normalization", ICML 2015, figure 5, with 128 channels in the pooling
    branch of 4c and 4d (so 4c, 4d give 608 and 4e gives 1056) as the released networks have them that
    DarkRank and S2SD start from; the paper's figure says 96. Pooling rounds sizes up: 224 → 112 → 56 → 28 →
    14 → 7.

    It has 10,260,224 parameters, DarkRank's 10.3 M; biases before a batch normalisation, which cancels them,
    are left out.

    Args:
        channels: Channels of the input images.

    Example:
        >>> import torch
        >>> BNInception()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 1024, 2, 2])
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvBlock(channels, 64, 7, 2),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            ConvBlock(64, 64, 1),
            ConvBlock(64, 192, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        self.inception3a = _Inception(192, 64, (64, 64), (64, 96), "avg", 32)
        self.inception3b = _Inception(256, 64, (64, 96), (64, 96), "avg", 64)
        self.inception3c = _Reduction(320, (128, 160), (64, 96))
        self.inception4a = _Inception(576, 224, (64, 96), (96, 128), "avg", 128)
        self.inception4b = _Inception(576, 192, (96, 128), (96, 128), "avg", 128)
        self.inception4c = _Inception(576, 160, (128, 160), (128, 160), "avg", 128)
        self.inception4d = _Inception(608, 96, (128, 192), (160, 192), "avg", 128)
        self.inception4e = _Reduction(608, (128, 192), (192, 256))
        self.inception5a = _Inception(1056, 352, (192, 320), (160, 224), "avg", 128)
        self.inception5b = _Inception(1024, 352, (192, 320), (192, 224), "max", 128)
        self.out_channels = 1024
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, H, W) to (n, 1024, H/32, W/32)."""
        x = self.stem(x)
        x = self.inception3c(self.inception3b(self.inception3a(x)))
        x = self.inception4b(self.inception4a(x))
        x = self.inception4e(self.inception4d(self.inception4c(x)))
        out: Tensor = self.inception5b(self.inception5a(x))
        return out


class _Inception(nn.Module):
    """1×1, 3×3, twice 3×3 and pooling with a 1×1 projection, side by side.

    ``single`` and ``double`` are the widths (of the reducing 1×1, of the 3×3s) of their branches.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        single: tuple[int, int],
        double: tuple[int, int],
        pool: str,
        projection: int,
    ) -> None:
        super().__init__()
        self.branch1 = ConvBlock(inputs, width, 1)
        self.branch2 = nn.Sequential(ConvBlock(inputs, single[0], 1), ConvBlock(single[0], single[1], 3))
        self.branch3 = nn.Sequential(
            ConvBlock(inputs, double[0], 1),
            ConvBlock(double[0], double[1], 3),
            ConvBlock(double[1], double[1], 3),
        )
        self.pool = nn.AvgPool2d(3, 1, 1) if pool == "avg" else nn.MaxPool2d(3, 1, 1)
        self.branch4 = ConvBlock(inputs, projection, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(self.pool(x)))
        return torch.cat(branches, 1)


class _Reduction(nn.Module):
    """The module that halves the size: 3×3, twice 3×3 and a max pool that keeps its channels."""

    def __init__(self, inputs: int, single: tuple[int, int], double: tuple[int, int]) -> None:
        super().__init__()
        self.branch1 = nn.Sequential(ConvBlock(inputs, single[0], 1), ConvBlock(single[0], single[1], 3, 2))
        self.branch2 = nn.Sequential(
            ConvBlock(inputs, double[0], 1),
            ConvBlock(double[0], double[1], 3),
            ConvBlock(double[1], double[1], 3, 2),
        )
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.pool(x)), 1)
