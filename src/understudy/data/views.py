"""Views are recipes, not images: each model renders them at its own size and normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.constants import constant
from understudy.data.counter import hashed, mix_integer, uniform

# Each parameter owns a channel for ever, so that turning one on leaves the draws of the others as they were.
_GEOMETRY = (0, 10)
_TONE = (10, 12)
_COLOUR = (12, 15)
_ERASING = (15, 20)

LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Views:
    """One view of each of n images: view ``numbers[i]`` of the image in manifest row ``rows[i]``.

    View k of image i is a pure function of (seed, i, k): nothing about augmentation is kept in a checkpoint,
    and a view can be asked for again in any batch, order, process or device. With a finite ``num_views`` the
    numbers count modulo that.

    Attributes:
        augmentation: The ranges the parameters are drawn from.
        seed: The seed of all views.
        rows: (n,) int64 manifest rows.
        numbers: (n,) int64, not negative.

    Example:
        >>> rows = torch.tensor([5, 5, 8])
        >>> views = Views(Augmentation(rotate=20), 0, rows, torch.tensor([0, 1, 0]))
        >>> views.geometry().shape
        torch.Size([3, 2, 3])
    """

    augmentation: Augmentation
    seed: int
    rows: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Tensor) -> Views:
        return replace(self, rows=self.rows[index], numbers=self.numbers[index])

    def to(self, device: torch.device | str) -> Views:
        """The same views with their numbers on another device."""
        return replace(self, rows=sent(self.rows, device), numbers=sent(self.numbers, device))

    def independent(self) -> Views:
        """Another view of each image, independent of this one.

        With a finite ``num_views`` it is another one of the same set (the same one where the set has only
        one); otherwise it comes from a stream of its own that no ``numbers`` of this one can reach.
        """
        count = self.augmentation.num_views
        if count is None:
            return replace(self, seed=mix_integer(self.seed))
        if count == 1:
            return self
        away = 1 + hashed(mix_integer(self.seed), self.rows, self.numbers).remainder(count - 1)
        return replace(self, numbers=(self.numbers + away).remainder(count))

    def geometry(self, aspect: float = 1.0, frame: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """Where each point of the view lies in its source image.

        Args:
            aspect: Width to height of the source, in pixels, so that a rotation is one.
            frame: Share of the source's (height, width), about its centre, that an uncropped view shows.

        Returns:
            (n, 2, 3) float32: affine maps from the view's coordinates (x, y, 1) to the source's (x, y), both
            from -1 to 1 between the outer borders, as ``torch.nn.functional.affine_grid`` takes them with
            ``align_corners=False``.
        """
        a = self.augmentation
        u = self._uniform(_GEOMETRY).unbind(1)
        one = torch.ones_like(u[0])
        high, wide, top, left = frame[0] * one, frame[1] * one, 0 * one, 0 * one
        if a.crops:
            area, ratio = _between(u[0], a.crop_scale), _log_between(u[1], a.crop_ratio)
            high, wide = (area / ratio).sqrt().clamp(max=1), (area * ratio).sqrt().clamp(max=1)
            top, left = (1 - high) * (2 * u[2] - 1), (1 - wide) * (2 * u[3] - 1)
        else:
            aspect = aspect * frame[1] / frame[0]
        if a.flip:
            wide = torch.where(u[4] < a.flip, -wide, wide)
        angle = (2 * u[5] - 1) * math.radians(a.rotate)
        lean = torch.tan((2 * u[9] - 1) * math.radians(a.shear))
        shrink = 1 / _log_between(u[8], a.zoom)
        cos, sin = angle.cos() * shrink, angle.sin() * shrink
        xx, xy, yx, yy = (
            wide * (cos + lean * sin),
            wide * (lean * cos - sin) / aspect,
            high * sin * aspect,
            high * cos,
        )
        right, down = (2 * a.translate) * (2 * u[6] - 1), (2 * a.translate) * (2 * u[7] - 1)
        x = left - xx * right - xy * down
        y = top - yx * right - yy * down
        return torch.stack((xx, xy, x, yx, yy, y), dim=1).view(-1, 2, 3)

    def tone(self) -> tuple[Tensor, Tensor]:
        """Gain and offset of brightness and contrast, each (n,) float32, for x from 0 to 1."""
        a = self.augmentation
        light, contrast = (2 * self._uniform(_TONE) - 1).unbind(1)
        contrast = 1 + a.contrast * contrast
        return (1 + a.brightness * light) * contrast, 0.5 - 0.5 * contrast

    def colour(self) -> Tensor:
        """Brightness, contrast, saturation, hue and loss of colour as one map of RGB.

        All of them keep grey grey, and the last three keep the luma, so they commute and compose to
        ``gain * (luma + saturation * (cos * B + sin * C)) x + offset`` with constant matrices B and C.

        Returns:
            (n, 3, 4) float32: a 3 × 3 matrix and an offset for RGB values from 0 to 1.
        """
        a = self.augmentation
        gain, offset = self.tone()
        strength, turn, fade = self._uniform(_COLOUR).unbind(1)
        saturation = 1 + a.saturation * (2 * strength - 1)
        if a.grayscale:
            saturation = torch.where(fade < a.grayscale, 0.0, saturation)
        angle = (2 * turn - 1) * (2 * math.pi * a.hue)
        grey, cos, sin = _chroma(gain.device)
        along, across = saturation * angle.cos(), saturation * angle.sin()
        matrix = grey + along[:, None, None] * cos + across[:, None, None] * sin
        return torch.cat((gain[:, None, None] * matrix, offset[:, None, None].expand(-1, 3, 1)), dim=2)

    def erasing(self) -> Tensor:
        """The erased box of each view.

        Returns:
            (n, 4) float32: left, upper, right, lower in shares of the view's sides; all zero where nothing is
            erased.
        """
        a = self.augmentation
        chance, share, shape, x, y = self._uniform(_ERASING).unbind(1)
        area, ratio = _between(share, a.erase_scale), _log_between(shape, (0.3, 1 / 0.3))
        wide, high = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        left, upper = (1 - wide) * x, (1 - high) * y
        box = torch.stack((left, upper, left + wide, upper + high), dim=1)
        return torch.where((chance < a.erase)[:, None], box, 0.0)

    def _uniform(self, channels: tuple[int, int]) -> Tensor:
        count = self.augmentation.num_views
        numbers = self.numbers if count is None else self.numbers.remainder(count)
        return uniform(self.seed, self.rows, numbers, range(*channels))


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device, without waiting on the way there; on the way back it would be read too early."""
    return tensor.to(device, non_blocking=torch.device(device).type != "cpu")


def _chroma(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The constant matrices of `Views.colour`, (3, 3) float32 each."""
    grey, cos, sin = (constant(values, device).view(3, 3) for values in _CHROMA)
    return grey, cos, sin


def _chroma_values() -> tuple[tuple[float, ...], ...]:
    grey = np.array([LUMA, LUMA, LUMA])
    yiq = np.array([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    turn = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    sin = np.linalg.inv(yiq) @ turn @ yiq
    return tuple(tuple(matrix.ravel().tolist()) for matrix in (grey, np.eye(3) - grey, sin))


_CHROMA = _chroma_values()


def _between(u: Tensor, ends: tuple[float, float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * u


def _log_between(u: Tensor, ends: tuple[float, float]) -> Tensor:
    """Evenly in the logarithm: a ratio and its inverse are as likely."""
    low, high = math.log(ends[0]), math.log(ends[1])
    return (low + (high - low) * u).exp()
