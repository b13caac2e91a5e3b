"""Plain convolutional networks for tiny grey images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.models._blocks import ConvBlock, init_convolutions


class SmallConv(nn.Module):
    """Five 3×3 convolutions of width w, w, w, 2w, 2w with batch normalisation and ReLU.

    The first and the last keep the size, the three between halve it: 40×40 becomes 5×5. The weights are
    stored channels last, in which a training step on a processor takes a half to three quarters of the time.

    Parameters alone and with a 64-dimensional head; multiply-accumulates of a grey 40×40 image with it:

    | name | alone | with ``dim=64`` | MACs |
    |---|---|---|---|
    | ``smallconv_8`` | 4,792 | 5,880 | 490,624 |
    | ``smallconv_16`` | 18,800 | 20,912 | 1,730,048 |
    | ``smallconv_32`` | 74,464 | 78,624 | 6,455,296 |
    | ``smallconv_64`` | 296,384 | 304,640 | 24,891,392 |

    Args:
        width: Channels w of the first layer.
        channels: Channels of the input images.

    Example:
        >>> import torch
        >>> SmallConv(8)(torch.zeros(2, 1, 40, 40)).shape
        torch.Size([2, 16, 5, 5])
    """

    def __init__(self, width: int, channels: int = 1) -> None:
        super().__init__()
        widths = (width, width, width, 2 * width, 2 * width)
        strides = (1, 2, 2, 2, 1)
        inputs = (channels, *widths[:-1])
        self.layers = nn.Sequential(
            *(ConvBlock(i, o, 3, s) for i, o, s in zip(inputs, widths, strides, strict=True))
        )
        self.out_channels = 2 * width
        init_convolutions(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, H, W) to (n, 2w, H/8, W/8)."""
        out: Tensor = self.layers(x)
        return out
