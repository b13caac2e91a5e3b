"""Where k-means begins."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from understudy.metrics.clustering._nearest import Nearest

_SHARE = 8


def seed_centroids(
    points: Tensor, k: int, generator: torch.Generator, block_bytes: int
) -> tuple[Tensor, Nearest]:
    """Chooses k of the points, far from each other, and which of them is nearest to each point.

    k-means++ (Arthur and Vassilvitskii, SODA 2007) draws each next centre with a chance that is proportional
    to the squared distance to those already drawn: one pass over the points for each centre. Here a pass
    draws as many candidates as an eighth of those already drawn, and takes them one by one, each with the
    chance by which those taken before it in this pass have brought it nearer. That is rejection sampling: the
    law is that of k-means++, but for the draw being without replacement. 11,316 centres of data without tight
    groups take some 80 passes, which together cost what one assignment of all points costs.

    Args:
        points: (n, d) floating point, n ≥ k.
        k: How many.
        generator: On the CPU, so that every device draws alike.
        block_bytes: See `Nearest`.

    Returns:
        (k, d) centres, no point twice, and the assignment to them.
    """
    nearest = Nearest(points, block_bytes)
    drawn = torch.empty(0, dtype=torch.int64, device=points.device)
    weights = torch.ones(len(points), dtype=torch.float64, device=points.device)
    while len(drawn) < k:
        # The largest of w/e, e exponential: a weighted draw without replacement (Efraimidis, Spirakis 2006).
        waiting = torch.empty(len(points)).exponential_(generator=generator).clamp_(min=1e-30)
        keys = weights / waiting.to(points.device)
        keys[drawn] = -1
        some = keys.topk(min(k - len(drawn), max(1, len(drawn) // _SHARE))).indices
        new = some[_taken(points[some], weights[some], generator)]
        numbers = torch.arange(len(drawn), len(drawn) + len(new), device=points.device)
        nearest.consider(points[new], numbers)
        drawn = torch.cat([drawn, new])
        weights = nearest.distance.double()
    return points[drawn], nearest


def _taken(candidates: Tensor, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Which candidates stay, each counting as near as those that stayed before it make it; the first does."""
    between = torch.cdist(candidates, candidates, compute_mode="donot_use_mm_for_euclid_dist").square()
    apart, before = between.double().cpu().numpy(), weights.cpu().numpy()
    bound = before * torch.rand(len(candidates), generator=generator, dtype=torch.float64).numpy()
    now, kept = before.copy(), np.zeros(len(before), dtype=bool)
    for place in range(len(before)):
        if bound[place] <= now[place]:
            kept[place] = True
            np.minimum(now, apart[place], out=now)
    return torch.from_numpy(kept).to(candidates.device)
