"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence


def warmup_cosine(step: int, *, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Linear warm-up to 1, then half a cosine down to ``floor``.

    Args:
        step: The step about to be taken, counted from 0.
        steps: Steps in the whole run.
        warmup: Steps of warm-up.
        floor: The factor that the last step approaches.

    Returns:
        The factor on the base learning rate.

    Example:
        >>> [round(warmup_cosine(s, steps=10, warmup=2), 3) for s in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def warmup_step(
    step: int, *, steps: int, warmup: int = 0, milestones: Sequence[float] = (0.5, 0.75), gamma: float = 0.1
) -> float:
    """Linear warm-up to 1, then times ``gamma`` at each milestone.

    Args:
        step: The step about to be taken, counted from 0.
        steps: Steps in the whole run.
        warmup: Steps of warm-up.
        milestones: Where the rate falls, as fractions of the run (DarkRank: 50 and 75 of 100 epochs).
        gamma: The factor at each milestone.

    Returns:
        The factor on the base learning rate.

    Example:
        >>> [round(warmup_step(s, steps=100), 3) for s in (0, 49, 50, 75)]
        [1.0, 1.0, 0.1, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    return float(gamma ** sum(step >= fraction * steps for fraction in milestones))
