"""From an image of any shape to the pixels a network was made for."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Annotated[int, Field(gt=0)]
Interpolation = Literal["bilinear", "bicubic", "lanczos"]
ResizeMode = Literal["squash", "shorter"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_SPARE = 32
"""An image that would be resized to more than so many times what is kept of it is cut first."""


class Preprocessing(BaseModel):
    """How an image becomes a network's input; saved in the model's ``config.json``.

    An image is decoded to ``resize``; its centre of ``size`` is what the network sees, as
    ``(pixel / 255 - mean) / std``.

    Example:
        >>> Preprocessing(size=(40, 40), resize=(40, 40), channels=1, mean=(0.5,), std=(0.25,)).mode
        'shorter'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[Side, Side] = Field(description="height and width of the network's input")
    resize: tuple[Side, Side] = Field(description="height and width an image is decoded to")
    mode: ResizeMode = Field(
        "shorter", description="squash both sides, or fit the shorter and cut the longer"
    )
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: RGB")
    interpolation: Interpolation = Field("bicubic", description="filter of the resizing, always antialiased")
    mean: tuple[float, ...] = Field((0.485, 0.456, 0.406), description="subtracted, per channel, of 0 to 1")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.229, 0.224, 0.225), description="divided by, per channel"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.size[0] > self.resize[0] or self.size[1] > self.resize[1]:
            raise ValueError(
                f"resize {self.resize} is smaller than size {self.size}: make it at least as large"
            )
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count != self.channels:
                raise ValueError(f"{name} has {count} numbers for {self.channels} channel(s): give one each")
        return self


def decode(
    image: Image.Image,
    resize: tuple[int, int],
    mode: ResizeMode = "shorter",
    interpolation: Interpolation = "bicubic",
    channels: int = 3,
) -> np.ndarray:
    """Resizes an image to exactly ``resize``.

    Args:
        image: An "RGB" or "L" image (`understudy.data.images.read_image` gives these); others are converted.
        resize: Height and width of the result.
        mode: ``squash`` changes the proportions; ``shorter`` keeps them, fills ``resize`` and cuts what
            sticks out evenly on both sides, as torchvision's ``Resize`` and ``CenterCrop`` do.
        interpolation: The antialiased filter.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        (channels, height, width) uint8.

    Example:
        >>> decode(Image.new("RGB", (60, 30), "white"), (20, 20), channels=1).shape
        (1, 20, 20)
    """
    image = image.convert("L" if channels == 1 else "RGB")
    height, width = resize
    if mode == "shorter":
        scale_up = (height * image.width, width * image.height)
        if scale_up[0] >= scale_up[1]:  # the height decides, the width sticks out
            full = (max(width, scale_up[0] // image.height), height)
        else:
            full = (width, max(height, scale_up[1] // image.width))
    else:
        full = (width, height)
    left, upper = round((full[0] - width) / 2), round((full[1] - height) / 2)
    kept = (left, upper, left + width, upper + height)
    if image.size != full and full[0] * full[1] > _SPARE * width * height:
        # All of a very thin image would take gigabytes. Pixels may differ a little from those cut out of it:
        # Pillow orders its two passes by the sizes, and rounds and clips between them.
        x, y, right, lower = (edge * image.size[i % 2] / full[i % 2] for i, edge in enumerate(kept))
        image = image.resize((width, height), _FILTERS[interpolation], box=(x, y, right, lower))
    else:
        if image.size != full:
            image = image.resize(full, _FILTERS[interpolation])
        if full != (width, height):
            image = image.crop(kept)
    pixels = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(pixels.reshape(height, width, channels).transpose(2, 0, 1))
