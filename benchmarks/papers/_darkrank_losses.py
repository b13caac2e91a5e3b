"""The losses of the DarkRank bench as configurations write them, with the three weights that each tries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Settings = dict[str, Any]

GRID = (0.2, 1.0, 5.0)
"""What every method's middle weight is multiplied by."""

PAPER = (3.0, 3.0)
CODE = (12.25, 4.0)
"""α and β: the paper's, and those of the published command (score power 2 on features of length 3.5)."""

_LAMBDA, _PAPER_LIST = 2.0, 7
"""The paper's λ, and the candidates in its batches of 8."""

KD_WEIGHT = 400.0
FITNET_WEIGHT = 5.0
"""Weights of the loss that DarkRank is added to: what each chose for itself in the search before."""

WHOLE = 127
"""Candidates of an image in a batch of 128."""


def published_weight(length: int, score: tuple[float, float] = PAPER) -> float:
    """What λ = 2 on lists of 7 at α = β = 3 amounts to for other lists and scores.

    The loss of a student that knows nothing is log L!, and its gradient is proportional to α·β: the weight
    that is given back keeps the product of the three.

    Example:
        >>> published_weight(7), round(published_weight(8), 2), round(published_weight(127), 3)
        (2.0, 1.61, 0.035)
    """
    alpha, beta = score
    return _LAMBDA * math.lgamma(_PAPER_LIST + 1) / math.lgamma(length + 1) * 9 / (alpha * beta)


def soft(length: int | None, score: tuple[float, float] = PAPER) -> Settings:
    """Soft DarkRank on lists of a length; none: the whole batch, sampled."""
    return {**_darkrank("soft_darkrank", length, score), "weight": _middle(length, score)}


def hard(length: int | None = None, score: tuple[float, float] = PAPER) -> Settings:
    """Hard DarkRank, on the whole batch unless a length is given."""
    return {**_darkrank("hard_darkrank", length, score), "weight": _middle(length, score)}


def loss(name: str, weight: float, **args: Any) -> Settings:
    """Any loss with its middle weight."""
    return {"name": name, "weight": weight, **({"args": args} if args else {})}


def kd(weight: float = KD_WEIGHT) -> Settings:
    """Soft targets on the logits, T = 4; published with T² = 16: 80 was better, and 400 than 80."""
    return loss("soft_target", weight, temperature=4.0)


def fitnet(weight: float = FITNET_WEIGHT) -> Settings:
    """The squared distance of embeddings."""
    return loss("fitnet", weight)


def direct_match() -> Settings:
    """Direct Match; the package's default weight, 2 over the candidates, is the smallest of its three."""
    return loss("direct_match", two_digits(GRID[-1] * 2 / WHOLE))


def stronger(one: Settings) -> Settings:
    """A loss at the largest of its three weights."""
    return {**one, "weight": two_digits(GRID[-1] * one["weight"])}


def grid(varied: Sequence[Settings], beside: Sequence[Settings] = ()) -> list[Settings]:
    """Three candidates: what stands beside is fixed, the weights of the rest are multiplied together."""
    return [
        {"losses": [*beside, *({**one, "weight": two_digits(factor * one["weight"])} for one in varied)]}
        for factor in GRID
    ]


def two_digits(value: float) -> float:
    """A number with two digits that count.

    Example:
        >>> two_digits(0.034719)
        0.035
    """
    return float(f"{value:.2g}")


def _middle(length: int | None, score: tuple[float, float]) -> float:
    """A twenty-fifth of the published λ: more pulled too hard wherever labels were learnt from, too."""
    return published_weight(length or WHOLE, score) / GRID[-1] ** 2


def _darkrank(name: str, length: int | None, score: tuple[float, float]) -> Settings:
    args: Settings = {"alpha": score[0], "beta": score[1]}
    if length is not None:
        args["list_length"] = length
    return {"name": name, "weight": 0.0, "args": args}
