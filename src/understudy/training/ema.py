"""A moving average of the student's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


class MovingAverage(Generic[Model]):
    """Keeps an exponential moving average of a model's parameters and buffers.

    The decay grows in, min(decay, (1 + t) / (10 + t)), so that the first steps do not weigh on a short run.

    Args:
        model: The model to follow.
        decay: The share of the old average that each step keeps.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(layer.weight)
        >>> average = MovingAverage(layer, decay=0.9)
        >>> _ = nn.init.ones_(layer.weight)
        >>> average.update(layer, step=0)
        >>> round(float(average.model.weight), 3)
        0.9
    """

    def __init__(self, model: Model, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, model: Model, step: int) -> None:
        """Takes one step towards the model's weights."""
        keep = min(self.decay, (1 + step) / (10 + step))
        for mean, value in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - keep)
            else:
                mean.copy_(value)
