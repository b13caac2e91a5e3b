"""Large-margin softmax: the angle to one's own class weight must win although it is multiplied."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.losses._checks import check_supervised
from understudy.losses._relations import require_number, require_positive, require_whole
from understudy.losses.supervised._base import SupervisedLoss, masked_mean


def l_softmax(
    raw: Tensor, labels: Tensor, weight: Tensor, *, margin: int = 3, blend: Tensor | float = 0.0
) -> Tensor:
    """Cross-entropy whose own logit ‖w‖‖x‖cos θ is lowered to ‖w‖‖x‖ψ(θ).

    ψ(θ) = (−1)^k cos(mθ) − 2k for θ in [kπ/m, (k+1)π/m]: it falls monotonically, and below cos θ. With a
    blend λ the own logit is ‖w‖‖x‖·(λ·cos θ + ψ(θ))/(1 + λ), which eases the start of training.

    Source: Liu et al., ICML 2016, equations 4 to 7; DarkRank (Chen et al., AAAI 2018) takes margin 3 on the
    layer before normalisation. Without blend it equals pytorch-metric-learning's LargeMarginSoftmaxLoss at
    scale 1. Normalises: no. Labels: needed.

    Args:
        raw: (n, d) embeddings before normalisation.
        labels: (n,) int64 below the number of classes; negative means unlabelled.
        weight: (classes, d), learned.
        margin: m, a whole number; 1 is the plain softmax without bias.
        blend: λ.

    Example:
        >>> x, weight = torch.tensor([[1.0, 0.0]]), torch.eye(2)
        >>> l_softmax(x, torch.tensor([0]), weight)  # θ = 0: ψ = 1, as without margin
        tensor(0.3133)
        >>> l_softmax(x, torch.tensor([1]), weight)  # θ = π/2: ψ = −2 in place of 0
        tensor(3.0486)
    """
    require_whole("l_softmax", margin=margin)
    raw = check_supervised("l_softmax", raw, labels)
    weight = weight.to(raw.dtype)
    own = labels.clamp_min(0).unsqueeze(1)
    with torch.autocast(raw.device.type, enabled=False):
        logits = raw @ weight.T
        lengths = torch.linalg.vector_norm(raw, dim=1) * torch.linalg.vector_norm(weight, dim=1)[own[:, 0]]
    target = logits.gather(1, own)
    lengths = lengths.unsqueeze(1)
    cosine = target / lengths.clamp_min(torch.finfo(raw.dtype).tiny)
    target = (blend * target + lengths * _psi(cosine, margin)) / (1 + blend)
    rows = F.cross_entropy(logits.scatter(1, own, target), own[:, 0], reduction="none")
    return masked_mean(rows, labels >= 0)


def _psi(cosine: Tensor, margin: int) -> Tensor:
    """(−1)^k cos(mθ) − 2k, with cos(mθ) by Chebyshev's recurrence in cos θ."""
    before, multiple = torch.ones_like(cosine), cosine
    for _ in range(margin - 1):
        before, multiple = multiple, 2 * cosine * multiple - before
    bounds = [math.cos(j * math.pi / margin) for j in range(1, margin)]
    k = torch.stack([cosine.detach() < bound for bound in bounds]).sum(0) if bounds else 0
    return (1 - 2 * (k % 2)) * multiple - 2 * k


class LSoftmax(SupervisedLoss):
    """The module of :func:`l_softmax`, which owns the class weights.

    With annealing, the blend at training step t is max(minimum, blend·decay^t), which DarkRank's code runs
    from 1000 by 0.99999 down to 5. Steps are counted by calls in training mode and kept in the state.

    Args:
        num_classes: How many.
        dim: Of the embedding before normalisation.
        margin: m; 3 in DarkRank.
        blend: λ at the start; 0 for no annealing.
        blend_decay: What it is multiplied by every step.
        blend_minimum: Where it stops.

    Example:
        >>> loss = LSoftmax(num_classes=10, dim=4, blend=1000.0, blend_decay=0.9)
        >>> value = loss(torch.randn(2, 4), torch.tensor([3, 9]))
        >>> loss.blend_now()
        tensor(900.)
    """

    inputs: ClassVar[tuple[str, ...]] = ("raw", "labels")
    steps: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        margin: int = 3,
        blend: float = 0.0,
        blend_decay: float = 0.99999,
        blend_minimum: float = 0.0,
    ) -> None:
        super().__init__()
        require_whole("l_softmax", num_classes=num_classes, dim=dim, margin=margin)
        require_positive("l_softmax", blend_decay=blend_decay)
        require_number("l_softmax", minimum=0, blend=blend, blend_minimum=blend_minimum)
        if blend_decay > 1:
            raise ValueError(f"l_softmax needs a blend_decay of at most 1, got {blend_decay}")
        if blend_minimum > blend:
            raise ValueError(
                f"l_softmax needs a blend_minimum of at most blend, from which it falls, got {blend_minimum} "
                f"and {blend}"
            )
        self.margin = margin
        self.blend = blend
        self.blend_decay = blend_decay
        self.blend_minimum = blend_minimum
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.kaiming_normal_(self.weight)
        self.register_buffer("steps", torch.zeros(()))

    def blend_now(self) -> Tensor:
        """λ of the next step, on the device."""
        fallen = self.blend * torch.exp(self.steps * math.log(self.blend_decay))
        return fallen.clamp_min(self.blend_minimum)

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`l_softmax`; ``embedding`` holds the embedding before normalisation."""
        blend = self.blend_now() if self.blend else 0.0
        if self.training:
            self.steps += 1
        return l_softmax(embedding, labels, self.weight, margin=self.margin, blend=blend)

    def extra_repr(self) -> str:
        """The settings."""
        classes, dim = self.weight.shape
        return (
            f"num_classes={classes}, dim={dim}, margin={self.margin}, blend={self.blend}, "
            f"blend_decay={self.blend_decay}, blend_minimum={self.blend_minimum}"
        )
