"""What may vary between two views of one image."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Augmentation(BaseModel):
    """The ranges from which a view's parameters are drawn; with nothing set, every view is the clean one.

    The order in a view: crop, flip, affine (zoom, shear, rotation, shift), colour, erasing. What lies outside
    the image repeats its border. Colour is one affine map of RGB: brightness is a gain, contrast a gain about
    mid-grey (torchvision: about the image's own mean), saturation and hue keep the luma
    0.299 R + 0.587 G + 0.114 B (hue turns the chroma plane of YIQ instead of HSV's angle), and the result is
    clipped once, at the end. An erased box becomes the mean colour of the normalisation.

    Example:
        >>> Augmentation(crop_scale=(0.5, 1.0), flip=0.5).moves
        True
        >>> Augmentation().off
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_scale: tuple[Share, Share] = Field(
        (1.0, 1.0), description="smallest and largest share of the image's area that a crop keeps"
    )
    crop_ratio: tuple[Positive, Positive] = Field(
        (1.0, 1.0), description="range of the crop's width to height, as a multiple of the image's own"
    )
    flip: Probability = Field(0.0, description="probability of a left-right flip")
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="largest rotation, in degrees")
    translate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="largest shift along each axis, as a share of the side"
    )
    zoom: tuple[Positive, Positive] = Field((1.0, 1.0), description="range of magnification")
    shear: Annotated[float, Field(ge=0, le=60)] = Field(
        0.0, description="largest horizontal shear, in degrees"
    )
    brightness: Annotated[float, Field(ge=0, le=1)] = Field(0.0, description="gain lies in 1 ± this")
    contrast: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="gain about mid-grey lies in 1 ± this"
    )
    saturation: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="gain of the chroma lies in 1 ± this"
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="largest turn of the hue; 1 is a full turn"
    )
    grayscale: Probability = Field(0.0, description="probability of losing all colour")
    erase: Probability = Field(0.0, description="probability that one box is erased")
    erase_scale: tuple[Share, Share] = Field((0.02, 0.33), description="share of the area that is erased")
    num_views: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many views an image has; none: a fresh one every time"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("crop_scale", "crop_ratio", "zoom", "erase_scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} goes from {low} down to {high}: write the smaller number first")
        return self

    @property
    def crops(self) -> bool:
        """Whether a view is a random crop of the whole image (it then replaces the centre crop)."""
        return self.crop_scale != (1.0, 1.0) or self.crop_ratio != (1.0, 1.0)

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return bool(
            self.crops or self.flip or self.rotate or self.translate or self.zoom != (1.0, 1.0) or self.shear
        )

    @property
    def tones(self) -> bool:
        """Whether the brightness of a grey image changes."""
        return bool(self.brightness or self.contrast)

    @property
    def colours(self) -> bool:
        """Whether the colours of an RGB image change."""
        return bool(self.tones or self.saturation or self.hue or self.grayscale)

    @property
    def off(self) -> bool:
        """Whether every view is the clean one."""
        return not (self.moves or self.colours or self.erase)
