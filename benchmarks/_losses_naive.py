"""The plain forms of the losses, as one would first write them: what the package's are compared with."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor
from torch.nn import functional as F


def all_rankings(items: int) -> Tensor:
    """(items!, items) every ranking."""
    return torch.tensor(list(permutations(range(items))))


def soft_by_enumeration(teacher: Tensor, student: Tensor, rankings: Tensor, *, safe: bool = True) -> Tensor:
    """(q,) KL of two Plackett–Luce laws, from the probability of every ranking, all of them at once.

    ``safe`` takes normalisers in log space, for any range of scores; else plain sums of exponentials, in the
    layout that suits a CPU best, which float32 bears only while scores span less than about 80.
    """
    log_probabilities = _log_probabilities if safe else _log_probabilities_by_sums
    teacher_log, student_log = (log_probabilities(scores, rankings) for scores in (teacher, student))
    return (teacher_log.exp() * (teacher_log - student_log)).sum(1)


def _log_probabilities(scores: Tensor, rankings: Tensor) -> Tensor:
    ordered = scores[:, rankings]
    normalisers = ordered.flip(-1).logcumsumexp(-1).flip(-1)
    return (ordered - normalisers).sum(-1)


def _log_probabilities_by_sums(scores: Tensor, rankings: Tensor) -> Tensor:
    from_last = scores.exp()[:, rankings.T.flip(0)]
    return scores.sum(1, keepdim=True) - from_last.cumsum(1).log().sum(1)


def hard_by_loop(scores: Tensor) -> Tensor:
    """(q,) −log P of the order in which the scores (q, n) stand: a logsumexp for every stage."""
    likelihood = torch.zeros_like(scores[:, 0])
    for stage in range(scores.shape[1]):
        likelihood = likelihood + scores[:, stage] - torch.logsumexp(scores[:, stage:], dim=1)
    return -likelihood


def hard_by_cumulation(scores: Tensor) -> Tensor:
    """(q,) the same by one reversed log-cumsum-exp, which autograd differentiates."""
    return -(scores - scores.flip(-1).logcumsumexp(-1).flip(-1)).sum(-1)


def angle_by_vectors(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD's angle loss from all n² difference vectors and n products of them: n²·d + n³ numbers."""
    with torch.no_grad():
        wanted = _angles(teacher)
    return F.smooth_l1_loss(_angles(student), wanted)


def _angles(x: Tensor) -> Tensor:
    sides = F.normalize(x.unsqueeze(0) - x.unsqueeze(1), p=2, dim=2)
    return torch.bmm(sides, sides.transpose(1, 2))


def distances_sort_exp(student: Tensor, teacher: Tensor) -> Tensor:
    """What a loss on full lists cannot do without: both sides' distances, the order, the exponentials."""
    order = torch.cdist(teacher, teacher).sort(dim=1).indices
    return (-torch.cdist(student, student).gather(1, order)).exp().mean()
