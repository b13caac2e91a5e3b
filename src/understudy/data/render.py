"""From decoded images and view recipes to a network's input, whole batches at a time, on any device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.constants import constant
from understudy.data.preprocessing import Preprocessing
from understudy.data.views import LUMA, Views


def render(content: Tensor, views: Views | None, pre: Preprocessing) -> Tensor:
    """Renders views of decoded images at a network's own size, channels and normalisation.

    Without views the result is the centre of ``content``, normalised: exactly what `decode` gave when the
    content has the size ``pre.resize``, an antialiased resizing of it otherwise. A view is one bilinear
    sampling of the content (with several samples a pixel averaged where the view shrinks its source twice or
    more; decided from sizes and ranges alone, never from data), one map of the colours, one mask. A view with
    a random crop shows part of the whole content; one without shows part of the centre that the clean image
    shows.

    Args:
        content: (n, 1 or 3, H, W) uint8.
        views: n views, on the device of ``content``; None for the clean images.
        pre: The network's preprocessing.

    Returns:
        (n, pre.channels, *pre.size) float32, normalised, on the device of ``content``.

    Raises:
        ValueError: ``content`` is of another type or shape.

    Example:
        >>> pre = Preprocessing(size=(2, 2), resize=(2, 2), channels=1, mean=(0.5,), std=(0.5,))
        >>> render(torch.tensor([[[[0, 255], [255, 0]]]], dtype=torch.uint8), None, pre).tolist()
        [[[[-1.0, 1.0], [1.0, -1.0]]]]
    """
    if content.dtype != torch.uint8 or content.dim() != 4:
        raise ValueError(f"content is (n, C, H, W) uint8, not {tuple(content.shape)} {content.dtype}")
    if views is None or views.augmentation.off:
        return _normalise(_channels(_clean(content, pre), pre.channels), pre)
    x = _moved(content, views, pre) if views.augmentation.moves else _clean(content, pre)
    x = _coloured(x, views, pre.channels)
    x = _normalise(x, pre)
    return _erased(x, views) if views.augmentation.erase else x


def samples_per_pixel(
    source: tuple[int, int], size: tuple[int, int], augmentation: Augmentation
) -> tuple[int, int]:
    """How many samples along (height, width) a pixel needs at most so that none of the source is skipped.

    Example:
        >>> samples_per_pixel((80, 100), (40, 40), Augmentation(rotate=10))
        (2, 2)
    """
    ratio = max(augmentation.crop_ratio[1], 1 / augmentation.crop_ratio[0])
    share = min(1.0, math.sqrt(augmentation.crop_scale[1] * ratio)) / augmentation.zoom[0]
    return max(1, int(share * source[0] / size[0])), max(1, int(share * source[1] / size[1]))


def _clean(content: Tensor, pre: Preprocessing) -> Tensor:
    """The centre crop, in the values of ``content`` (0 to 255)."""
    if content.shape[-2:] != pre.resize:
        mode = "bilinear" if pre.interpolation == "bilinear" else "bicubic"
        content = F.interpolate(content.float(), pre.resize, mode=mode, antialias=True).clamp_(0, 255)
    (height, width), (full_height, full_width) = pre.size, pre.resize
    upper, left = round((full_height - height) / 2), round((full_width - width) / 2)
    return content[..., upper : upper + height, left : left + width]


def _moved(content: Tensor, views: Views, pre: Preprocessing) -> Tensor:
    source = (content.shape[-2], content.shape[-1])
    frame = (pre.size[0] / pre.resize[0], pre.size[1] / pre.resize[1])
    theta = views.geometry(source[1] / source[0], frame)[..., None]
    down, across = samples_per_pixel(source, pre.size, views.augmentation)
    x = 2 * _centres(pre.size[1] * across, content.device) - 1
    y = 2 * _centres(pre.size[0] * down, content.device)[:, None] - 1
    # Written out because affine_grid takes seven times as long on a CPU and depends on the batch in its last
    # bit.
    grid = (theta[:, :, 0:1] * x + (theta[:, :, 1:2] * y + theta[:, :, 2:3])).permute(0, 2, 3, 1)
    x = F.grid_sample(content.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return F.avg_pool2d(x, (down, across)) if down * across > 1 else x


def _centres(count: int, device: torch.device) -> Tensor:
    """Where the centres of ``count`` pixels lie along a side that goes from 0 to 1."""
    return (torch.arange(count, device=device) + 0.5) / count


def _coloured(x: Tensor, views: Views, channels: int) -> Tensor:
    """Applies the colour part of the views to values from 0 to 255, and gives the wanted channels."""
    if x.shape[1] == 3 and channels == 3:
        if not views.augmentation.colours:
            return x
        colour = views.colour()
        n, _, height, width = x.shape
        flat = torch.baddbmm(255 * colour[:, :, 3:], colour[:, :, :3], x.float().reshape(n, 3, -1))
        return flat.view(n, 3, height, width).clamp_(0, 255)
    x = _channels(x, 1)  # the rest of the colours keeps the luma
    if views.augmentation.tones:
        gain, offset = views.tone()
        x = x.float().mul_(gain[:, None, None, None]).add_(255 * offset[:, None, None, None]).clamp_(0, 255)
    return _channels(x, channels)


def _erased(x: Tensor, views: Views) -> Tensor:
    left, upper, right, lower = views.erasing()[:, :, None].unbind(1)
    height, width = x.shape[-2:]
    across, down = _centres(width, x.device), _centres(height, x.device)
    columns, rows = (across >= left) & (across < right), (down >= upper) & (down < lower)
    erased = rows.float()[:, :, None] * columns.float()[:, None, :]
    return x.mul_(1 - erased[:, None])  # on a CPU three times as fast as filling by a mask


def _channels(x: Tensor, channels: int) -> Tensor:
    if x.shape[1] == channels:
        return x
    if channels == 3:
        return x.expand(-1, 3, -1, -1)
    red, green, blue = x.float().unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _normalise(x: Tensor, pre: Preprocessing) -> Tensor:
    scale, shift = _constants(pre.mean, pre.std, x.device)
    if x.is_floating_point() and x.is_contiguous():  # made here, so no copy is needed
        return x.mul_(scale).add_(shift)
    return torch.mul(x, scale).add_(shift)


def _constants(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Scale and shift of the normalisation, (1, C, 1, 1) float32."""
    scale = constant(tuple(1 / (255 * s) for s in std), device)
    shift = constant(tuple(-m / s for m, s in zip(mean, std, strict=True)), device)
    return scale.view(1, -1, 1, 1), shift.view(1, -1, 1, 1)
