"""DarkRank's sharpness α, read off the teacher's own distances instead of tuned."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from understudy.losses._distances import widest

Alpha = float | Literal["auto"]

TARGET_ENTROPY = 0.5

STEEPNESS = 9.0
"""α·β in the paper, by which a score falls along the distance; a loss whose α is found is brought to it."""

# What α·(mean d^β) may be: below, a choice is blind; above, only ties are undecided.
SLIGHTEST, SHARPEST = 1e-2, 1e6
# Halvings until log α is known within 0.04, where the entropy is as good as straight, and Newton steps there.
_HALVINGS, _NEWTON_STEPS = 8, 3
# Where all candidates tie, the entropy is the target at every α, up to rounding.
_ROUNDING = 1e-9
# How far behind the nearest an absent candidate stands, in units of the mean: its probability is 0 at every
# α, and the square of the sharpest score is still finite in float32.
_ABSENT = 1e12


def at_usual_steepness(loss: Tensor, alpha: Tensor, beta: float) -> Tensor:
    """A loss with α found by :func:`alpha_from_teacher`, times 9/(α·β).

    A loss on scores −α·d^β pulls at the distances in proportion to α·β. Brought to the paper's 3 · 3, it
    pulls about as hard whatever α the teacher's distances ask for, so that one weight suits them all.

    Args:
        loss: A scalar.
        alpha: The scalar α that was found.
        beta: Power β of the distance.

    Example:
        >>> at_usual_steepness(torch.tensor(2.0), torch.tensor(6.0), beta=3.0)
        tensor(1.)
    """
    return loss * (STEEPNESS / beta / alpha).to(loss.dtype)


def check_alpha(name: str, alpha: Alpha, target_entropy: float) -> None:
    """Checks the sharpness, or how it is to be found.

    Raises:
        ValueError: When α is neither positive nor 'auto', or the target no share that an α could reach.

    Example:
        >>> check_alpha("hard_darkrank", "automatic", 0.5)
        Traceback (most recent call last):
        ...
        ValueError: hard_darkrank needs an alpha above 0, or 'auto', got 'automatic'
    """
    if alpha != "auto" and not (isinstance(alpha, (int, float)) and 0 < alpha < math.inf):
        raise ValueError(f"{name} needs an alpha above 0, or 'auto', got {alpha!r}")
    if not 0 < target_entropy < 1:
        raise ValueError(
            f"{name} needs a target_entropy between 0 and 1, as a share of the entropy of a blind choice, "
            f"got {target_entropy}"
        )


@torch.no_grad()
def alpha_from_teacher(
    squared_distances: Tensor, beta: float, target_entropy: float = TARGET_ENTROPY
) -> Tensor:
    """The α at which the teacher's choice of the first of each list has a given entropy, on average.

    The first stage of the teacher's Plackett–Luce law chooses candidate i with p_i ∝ exp(−α·d_i^β). Its
    entropy H falls as α grows, dH/dα = −α·Var_p(d^β), from log n, a blind choice, to 0, or to log t where t
    candidates tie for the first place. One α serves the batch, so that a query whose neighbours are hard to
    tell apart stays less sure than others; it solves

        mean H_q = mean [log t_q + h·(log n_q − log t_q)]

    over the queries, with h the target. Distances in other units give α in other units and the same law.
    Source: this project's own; after the perplexity of stochastic neighbour embedding (Hinton and Roweis,
    NIPS 2002), which sets a bandwidth for every point instead.

    Eight halvings of an interval of log α and three Newton steps, all in float64: a fixed number of passes
    over the table, no device synchronisation, nothing that depends on the order of the rows or candidates.

    Args:
        squared_distances: (q, n) the teacher's, each row in ascending order; infinite for a candidate that
            takes no part.
        beta: Power β of the distance.
        target_entropy: h, between 0 (sure) and 1 (blind): 0.5 is a choice among about √n candidates.

    Returns:
        A scalar α between 0.01 and 1,000,000 in units of 1/(mean d^β), float64 where the device has it; about
        the least when every list is tied throughout, as no α says anything then.

    Example:
        >>> distances = torch.tensor([[0.0, 1.0]])  # two candidates, one α·1 apart
        >>> alpha = alpha_from_teacher(distances.square(), beta=3.0, target_entropy=0.5)
        >>> p = torch.sigmoid(alpha)
        >>> -(p * p.log2() + (1 - p) * (1 - p).log2())
        tensor(0.5000, dtype=torch.float64)
    """
    powers = widest(squared_distances).pow(beta / 2)
    absent = powers.isinf()
    powers = powers.masked_fill(absent, 0.0)
    counts = (~absent).sum(1).clamp_min(1)
    unit = powers.sum() / counts.sum()
    unit = torch.where(unit > 0, unit, 1.0)
    behind = ((powers - powers[:, :1]) / unit).masked_fill(absent, _ABSENT)
    behind[:, 0] = 0.0  # also where nobody is present: a list of one, whose entropy is 0
    blind, sure = counts.to(powers.dtype).log(), (behind == 0).sum(1).to(powers.dtype).log()
    target = (sure + target_entropy * (blind - sure)).sum()
    return _solve(-behind, target) / unit


def _solve(scores: Tensor, target: Tensor) -> Tensor:
    """The scalar α at which softmax(α·scores) has the target as its entropy, summed over rows."""
    ratio = SHARPEST / SLIGHTEST
    alpha = target.new_full((), SLIGHTEST * math.sqrt(ratio))
    unsure_above = target * (1 + _ROUNDING)
    for halving in range(_HALVINGS):
        factor = ratio ** (0.25 / 2**halving)
        entropy = torch.special.entr((scores * alpha).softmax(1)).sum()
        alpha = torch.where(entropy > unsure_above, alpha * factor, alpha / factor)
    reach = math.log(ratio) / 2 ** (_HALVINGS + 1)
    shift = torch.zeros_like(alpha)
    for _ in range(_NEWTON_STEPS):
        sharpened = scores * (alpha * shift.exp())
        choice = sharpened.softmax(1)
        deviations = sharpened - (choice * sharpened).sum(1, keepdim=True)
        fall = (choice * deviations.square()).sum()
        excess = torch.special.entr(choice).sum() - target
        shift = (shift + excess / fall.clamp_min(torch.finfo(fall.dtype).tiny)).clamp(-reach, reach)
    return alpha * shift.exp()
