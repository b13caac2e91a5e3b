"""DarkRank's score of a candidate, and the settings that the authors' code gives it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Absent candidates stand this far below the last present one: e^-100 of its mass, nothing in float64.
_ABSENT = 100.0


def darkrank_score(
    squared_distances: Tensor, alpha: float | Tensor, beta: float, present: Tensor | None = None
) -> Tensor:
    """DarkRank's score −α·d^β (Chen et al., AAAI 2018, equation 4).

    Args:
        squared_distances: (q, m) of each query to its candidates.
        alpha: Sharpness α, a number or a scalar tensor.
        beta: Power β.
        present: (q, m) bool; an absent candidate gets a score so low that it is ranked last, by both sides
            alike, and weighs nothing. None: all are present.

    Example:
        >>> darkrank_score(torch.tensor([[4.0]]), alpha=3.0, beta=3.0)
        tensor([[-24.]])
    """
    scores = squared_distances.pow(beta / 2) * -alpha
    if present is None:
        return scores
    lowest = scores.detach().masked_fill(~present, torch.inf).amin(1, keepdim=True)
    return torch.where(present, scores, lowest.masked_fill(lowest.isinf(), 0.0) - _ABSENT)


def darkrank_from_authors(score_power: float, embedding_l2_norm: float) -> tuple[float, float]:
    """The settings (α, β) that equal those of the authors' code.

    The code scales embeddings of unit length to √s and scores −(s·d²)^p, which is −α·d^β with α = s^p and
    β = 2p. Its published command has p = 2 and s = 3.5; the paper's α = β = 3 is p = 1.5 and s = 3^(2/3).

    Args:
        score_power: p, the option ``--score-power``.
        embedding_l2_norm: s, the option ``--embedding-l2-norm``.

    Example:
        >>> darkrank_from_authors(score_power=2.0, embedding_l2_norm=3.5)
        (12.25, 4.0)
    """
    return math.pow(embedding_l2_norm, score_power), 2 * score_power
