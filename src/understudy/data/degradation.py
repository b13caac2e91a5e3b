"""How much worse than the teacher's the images are that a student sees."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Share = Annotated[float, Field(gt=0, le=1)]
Width = Annotated[float, Field(ge=0, le=100)]
Quality = Annotated[int, Field(ge=1, le=100)]

_BOTH_ENDS = BeforeValidator(lambda value: (value, value) if isinstance(value, int | float) else value)


class Degradation(BaseModel):
    """The ranges from which an image's loss of quality is drawn; with nothing set it keeps all of it.

    An image is blurred, then made smaller, then compressed, then brought back to the size it was decoded to,
    so that it goes wherever the good one would. One number stands for a range of that one.

    Example:
        >>> Degradation(scale=0.25).scale
        (0.25, 0.25)
        >>> Degradation().off
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Annotated[tuple[Share, Share], _BOTH_ENDS] = Field(
        (1.0, 1.0), description="range of the sides that are left, as a share of the decoded ones"
    )
    blur: Annotated[tuple[Width, Width], _BOTH_ENDS] = Field(
        (0.0, 0.0), description="range of the Gaussian blur's standard deviation, in decoded pixels"
    )
    jpeg: Annotated[tuple[Quality, Quality], _BOTH_ENDS] | None = Field(
        None, description="range of the JPEG quality, 1 to 100; none: no compression"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("scale", "blur", "jpeg"):
            low, high = getattr(self, name) or (0, 0)
            if low > high:
                raise ValueError(f"{name} goes from {low} down to {high}: write the smaller number first")
        return self

    @property
    def off(self) -> bool:
        """Whether images stay as they are."""
        return self.scale == (1.0, 1.0) and self.blur == (0.0, 0.0) and self.jpeg is None
