"""A moving average of the student's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

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
        pairs = list(zip(_state(self.model), _state(model), strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        # one kernel for all, as optimisers do
        torch._foreach_lerp_([m for m, _ in moving], [v for _, v in moving], 1.0 - keep)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)


def _state(model: nn.Module) -> Iterator[Tensor]:
    return (tensor.detach() for tensor in chain(model.parameters(), model.buffers()))
