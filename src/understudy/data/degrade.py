"""Images of lower quality: blurred, smaller, compressed, as whole batches on any device."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from understudy.data.counter import uniform
from understudy.data.degradation import Degradation
from understudy.data.items import Items
from understudy.data.jpeg import compressed
from understudy.search import full_float32

_CHANNELS = range(20, 23)  # of the draws of a view; those before are the augmentation's, see `views`
_SHARPEST = 1e-3  # a Gaussian of this width is the image itself


@dataclass(frozen=True)
class Degrader:
    """Gives items a lower quality, the same one whenever the same view of the same image comes.

    Strengths are a pure function of (seed, row, number of the view); clean images are view 0. So are the
    pixels, but for the last bit that a device's sums may differ in.

    Attributes:
        degradation: The ranges of the strengths.
        seed: The seed of the draws.

    Example:
        >>> worse = Degrader(Degradation(scale=0.5), seed=0)
        >>> items = Items(torch.tensor([3]), torch.tensor([[[[0, 0, 200, 200]] * 4]], dtype=torch.uint8))
        >>> worse(items).content[0, 0, 0].tolist()
        [29, 64, 136, 171]
    """

    degradation: Degradation
    seed: int

    def __call__(self, items: Items) -> Items:
        """The items with degraded content, (n, C, H, W) uint8 of the same size; views stay as they are."""
        if self.degradation.off:
            return items
        if items.views is None:
            numbers = torch.zeros_like(items.rows)
        else:
            count = items.views.augmentation.num_views
            numbers = items.views.numbers if count is None else items.views.numbers.remainder(count)
        scale, blur, quality = self.strengths(items.rows, numbers)
        most = self.degradation.scale[1]
        return replace(
            items, content=degrade(items.content, scale=scale, blur=blur, quality=quality, most=most)
        )

    def strengths(self, rows: Tensor, numbers: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What is drawn for views of images: scale, blur and quality, each (n,), None where it is off.

        Args:
            rows: (n,) int64 manifest rows.
            numbers: (n,) int64, which view of it.
        """
        d = self.degradation
        small, soft, packed = uniform(self.seed, rows, numbers, _CHANNELS).unbind(1)
        scale = blur = quality = None
        if d.scale != (1.0, 1.0):
            scale = d.scale[0] * (d.scale[1] / d.scale[0]) ** small  # evenly in the logarithm
        if d.blur != (0.0, 0.0):
            blur = d.blur[0] + (d.blur[1] - d.blur[0]) * soft
        if d.jpeg is not None:
            quality = d.jpeg[0] + ((d.jpeg[1] - d.jpeg[0] + 1) * packed).to(torch.int64)
        return scale, blur, quality


def degrade(
    content: Tensor,
    *,
    scale: Tensor | None = None,
    blur: Tensor | None = None,
    quality: Tensor | None = None,
    most: float = 1.0,
) -> Tensor:
    """Blurs, shrinks and compresses images, each by its own strength, and brings them back to their size.

    Blur and both resizings are linear maps of the rows and of the columns, so each is a matrix for an image
    and a side: batches keep one shape whatever the strengths, and nothing waits for the device. The smaller
    image is made as an antialiased bilinear resizing makes it, rounded to whole levels where it is then
    compressed (see `understudy.data.jpeg.compressed`), and enlarged bilinearly.

    Args:
        content: (n, 1 or 3, H, W) uint8.
        scale: (n,) shares above 0 up to ``most`` of the sides that are left; None: all of them.
        blur: (n,) standard deviations in pixels; None: sharp.
        quality: (n,) whole numbers from 1 to 100; None: not compressed.
        most: A bound of ``scale``, which saves work when it is small.

    Returns:
        (n, 1 or 3, H, W) uint8.

    Raises:
        ValueError: ``content`` is of another type or shape.

    Example:
        >>> edge = torch.tensor([[[[0, 0, 0, 240, 240, 240]] * 6]], dtype=torch.uint8)
        >>> degrade(edge, blur=torch.tensor([1.0]))[0, 0, 0].tolist()
        [2, 15, 72, 168, 225, 238]
    """
    if not isinstance(content, Tensor) or content.dtype != torch.uint8 or content.dim() != 4:
        raise ValueError("content is (n, 1 or 3, H, W) uint8")
    sides = (content.shape[-2], content.shape[-1])
    x = content.float()
    with full_float32():
        if blur is not None:
            x = _mapped(x, *(blurring(side, blur) for side in sides))
        if scale is not None:
            x = _mapped(x, *(shrinking(side, scale, most) for side in sides))
        if quality is not None:
            x = compressed(x.round_(), quality)
        if scale is not None:
            x = _mapped(x, *(enlarging(side, scale, most) for side in sides))
    return x.round_().clamp_(0, 255).to(torch.uint8)


def shrinking(side: int, scale: Tensor, most: float = 1.0) -> Tensor:
    """Antialiased bilinear resizing of one side to a share of it.

    Args:
        side: Pixels along it, L.
        scale: (n,) shares; m = max(1, round(share · L)) pixels are left.
        most: A bound of the shares; M pixels are then the most that are left.

    Returns:
        (n, M, L) float32; the rows from m on repeat row m - 1.
    """
    left = _left(side, scale, most)
    step = side / left
    at = torch.arange(side, device=scale.device)
    centre = (torch.minimum(at[: _most_left(side, most)].float(), left - 1) + 0.5) * step
    away = (at[None, None, :] + 0.5 - centre[:, :, None]) / step[:, :, None]
    return _shares((1 - away.abs()).clamp_min(0))


def enlarging(side: int, scale: Tensor, most: float = 1.0) -> Tensor:
    """Bilinear resizing of a side's first m pixels, see `shrinking`, back to all of it.

    Returns:
        (n, L, M) float32; the columns from m on are zero.
    """
    left = _left(side, scale, most)
    at = torch.arange(side, device=scale.device)
    place = ((at + 0.5) * (left / side) - 0.5).clamp_min(0).minimum(left - 1)
    return (1 - (at[None, None, : _most_left(side, most)] - place[:, :, None]).abs()).clamp_min(0)


def blurring(side: int, blur: Tensor) -> Tensor:
    """A Gaussian along one side, cut off and weighed anew at the borders.

    Args:
        side: Pixels along it, L.
        blur: (n,) standard deviations in pixels; at 0 the matrix is the identity.

    Returns:
        (n, L, L) float32, rows summing to 1.
    """
    at = torch.arange(side, device=blur.device)
    away = (at[:, None] - at[None, :]).float() / blur.clamp_min(_SHARPEST)[:, None, None]
    return _shares(torch.exp(-away.square() / 2))


def _left(side: int, scale: Tensor, most: float) -> Tensor:
    """(n, 1) float32 whole numbers: how many pixels of a side are left."""
    return (side * scale).round().clamp(1, _most_left(side, most))[:, None]


def _most_left(side: int, most: float) -> int:
    return max(1, round(side * most))


def _shares(weights: Tensor) -> Tensor:
    return weights / weights.sum(2, keepdim=True)


def _mapped(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Maps the columns and the rows of (n, C, H, W) by matrices of (n, …, H) and (n, …, W)."""
    return down[:, None] @ x @ across.transpose(1, 2)[:, None]
