"""What JPEG compression does to images, whole batches at a time, on any device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.constants import constant

_LUMA = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    *(17, 18, 24, 47, 99, 99, 99, 99),
    *(18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
_TO_YCC = (0.299, 0.587, 0.114, -0.168735892, -0.331264108, 0.5, 0.5, -0.418687589, -0.081312411)
_TO_RGB = (1.0, 0.0, 1.402, 1.0, -0.344136286, -0.714136286, 1.0, 1.772, 0.0)
_WAVES = tuple(
    math.cos(math.pi / 8 * u * (x + 0.5)) / (2 if u else math.sqrt(8)) for u in range(8) for x in range(8)
)
"""The orthonormal DCT-II of eight numbers, row by row."""


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Images after a round trip through JPEG, without the file.

    Baseline JPEG as libjpeg writes it by default (ITU-T T.81; the tables of its Annex K scaled by quality as
    libjpeg does): colours as YCbCr with chroma of half the sides, a DCT of 8 × 8 blocks, quantisation, and
    back with smoothly enlarged chroma. Entropy coding loses nothing, so it is left out. The pixels that
    Pillow gives differ by less than one of 255 levels on average (its transforms work with integers), where
    the compression itself costs 1.4 levels at quality 95 and 9 to 24 at quality 5.

    Args:
        images: (n, 1 or 3, H, W) whole numbers from 0 to 255, of any floating-point or uint8 type.
        quality: (n,) from 1 to 100, on the same device.

    Returns:
        (n, 1 or 3, H, W) float32, whole numbers from 0 to 255.

    Example:
        >>> grey = torch.full((1, 1, 8, 8), 131.0)
        >>> compressed(grey, torch.tensor([50]))[0, 0, 0, 0].item()  # the mean goes in steps of 16 / 8
        132.0
    """
    height, width = images.shape[-2:]
    x = images.float()
    percent = _percent(quality)
    if images.shape[1] == 1:
        return _coded(_padded(x, 8), _tables(_LUMA, percent))[..., :height, :width]
    x = _padded(x, 16)
    ycc = _recoloured(x, _TO_YCC)
    ycc[:, 1:] += 128
    light = _coded(ycc.round_()[:, :1], _tables(_LUMA, percent))[..., :height, :width]
    tint = _coded(_halved(ycc[:, 1:]), _tables(_CHROMA, percent))
    tint = tint[..., : -(-height // 2), : -(-width // 2)]
    tint = _doubled(tint)[..., :height, :width] - 128
    return _recoloured(torch.cat((light, tint), dim=1), _TO_RGB).round_().clamp_(0, 255)


def _percent(quality: Tensor) -> Tensor:
    """The scaling of the tables by libjpeg: 50 leaves them as they are, 100 makes every step 1."""
    quality = quality.to(torch.int64).clamp(1, 100)
    return torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)


def _tables(base: tuple[int, ...], percent: Tensor) -> Tensor:
    """(n, 1, 1, 1, 8, 8) float32: the steps of the quantisation."""
    steps = torch.floor((constant(base, percent.device) * percent[:, None] + 50) / 100)
    return steps.clamp_(1, 255).view(-1, 1, 1, 1, 8, 8)


def _coded(x: Tensor, tables: Tensor) -> Tensor:
    """(n, C, H, W) with sides in whole blocks, transformed, quantised and transformed back."""
    n, channels, height, width = x.shape
    wave = constant(_WAVES, x.device).view(8, 8)
    blocks = (x - 128).view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    numbers = ((wave @ blocks @ wave.T) / tables).round_() * tables
    back = (wave.T @ numbers @ wave).transpose(3, 4).reshape(x.shape)
    return back.add_(128).round_().clamp_(0, 255)


def _padded(x: Tensor, side: int) -> Tensor:
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % side, 0, -height % side), mode="replicate")


def _halved(x: Tensor) -> Tensor:
    """Means of 2 × 2, rounded up and down in turns as libjpeg does."""
    bias = 1 + torch.arange(x.shape[-1] // 2, device=x.device) % 2
    return torch.floor(F.avg_pool2d(x, 2) + bias / 4)


def _doubled(x: Tensor) -> Tensor:
    """Twice the sides, each pixel 3/4 of the nearer and 1/4 of the farther one along both."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False).round_()


def _recoloured(x: Tensor, matrix: tuple[float, ...]) -> Tensor:
    return (constant(matrix, x.device).view(3, 3) @ x.flatten(2)).view(x.shape)
