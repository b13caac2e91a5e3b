"""Several looks at one image, averaged into one vector: its mirror image, smaller scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.degrade import Degrader
from understudy.data.items import Items
from understudy.errors import UserError

THREE_SCALES = (1.0, 1 / math.sqrt(2), 0.5)
"""The scales that revisited Oxford and Paris are reported with."""


@dataclass(frozen=True)
class Describing:
    """How often a model looks at an image, and how.

    With one look the model's embedding is left as it is. With several, each look's embedding is
    L2-normalised, their mean is taken and L2-normalised again. Over scales that is what cnnimageretrieval
    (Radenović et al.) does by default for a network with whitening; for a GeM network without, it takes the
    power mean with GeM's exponent instead, which is not done here. A smaller look is the rendered input
    resized bilinearly, without antialiasing, as there.

    Attributes:
        flip: Whether to look at the mirror image (left and right exchanged) too.
        scales: By what the input's sides are multiplied, one look each.
        sees: Makes the items that are looked at worse than those that are given; none: they are seen as they
            are.

    Raises:
        UserError: There is no scale, or one is not a positive number.

    Example:
        >>> describing = Describing(flip=True)
        >>> describing(lambda x: x.flatten(1)[:, :2], torch.tensor([[[[3.0, 4.0, 0.0]]]]))
        tensor([[0.3162, 0.9487]])
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)
    sees: Degrader | None = None

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= 4 for scale in self.scales):
            given = ", ".join(map(str, self.scales)) or "none"
            raise UserError(f"scales are numbers above 0 and at most 4, got {given}: 1,0.7071,0.5 is usual")

    @property
    def plain(self) -> bool:
        """Whether what is seen is looked at once, and the vector is the model's own."""
        return not self.flip and tuple(self.scales) == (1.0,)

    def seen(self, items: Items) -> Items:
        """What is looked at."""
        return items if self.sees is None else self.sees(items)

    def __call__(self, embed: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """The vectors of rendered images.

        Args:
            embed: (n, channels, H, W) to (n, d).
            x: (n, channels, H, W) floating point.

        Returns:
            (n, d), float32 at least.
        """
        if self.plain:
            return embed(x)
        total: Tensor | None = None
        for scale in self.scales:
            look = x if scale == 1 else _resized(x, scale)
            for seen in (look, look.flip(-1)) if self.flip else (look,):
                vector = embed(seen)
                unit = F.normalize(vector.to(torch.promote_types(vector.dtype, torch.float32)), dim=1)
                total = unit if total is None else total + unit
        assert total is not None
        return F.normalize(total, dim=1)

    def check(self, embed: Callable[[Tensor], Tensor], x: Tensor, name: str) -> None:
        """Refuses a model that takes its input in one size only.

        Args:
            embed: As for a call.
            x: (1, channels, H, W), any image.
            name: The model, for the sentence.

        Raises:
            UserError: The model does not take one of the scales.
        """
        for scale in self.scales:
            height, width = (int(side * scale) for side in x.shape[-2:])
            try:
                embed(x if scale == 1 else _resized(x, scale))
            except (RuntimeError, AssertionError, ValueError, IndexError) as error:
                raise UserError(
                    f"{name!r} does not take inputs of {height}×{width} (scale {scale:.4g}), which is "
                    "too small or another than its own: leave scales out or choose another backbone"
                ) from error


def _resized(x: Tensor, scale: float) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
