"""Proxy-anchor: every class has a learned proxy, which pulls its hard images and pushes the others'."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from understudy.losses._checks import check_supervised
from understudy.losses._relations import require_number, require_positive, require_whole, unit
from understudy.losses.supervised._base import SupervisedLoss


def proxy_anchor(
    embedding: Tensor, labels: Tensor, proxies: Tensor, *, alpha: float = 32.0, margin: float = 0.1
) -> Tensor:
    """Soft hinges of the proxies on the cosines S with the batch.

        L = 1/|P⁺| Σ_{p ∈ P⁺} log(1 + Σ_{x of p} exp(−α(S_xp − δ)))
            + 1/|P| Σ_{p ∈ P} log(1 + Σ_{x not of p} exp(α(S_xp + δ)))

    with P all proxies and P⁺ those with an image in the batch.

    Source: Kim et al., CVPR 2020. Equals pytorch-metric-learning's ProxyAnchorLoss. Normalises:
    yes, cosines. Labels: needed.

    Args:
        embedding: (n, d).
        labels: (n,) int64 below the number of classes; negative means unlabelled.
        proxies: (classes, d), learned.
        alpha: α, the sharpness.
        margin: δ.

    Raises:
        ValueError: On wrong shapes, or α of 0 or less.
        IndexError: On a label without a proxy (on a GPU, the device's own error).

    Example:
        >>> proxy_anchor(torch.eye(2), torch.tensor([0, 1]), torch.eye(2), alpha=1.0)
        tensor(1.0856)
    """
    require_positive("proxy_anchor", alpha=alpha)
    embedding = check_supervised("proxy_anchor", embedding, labels)
    with torch.autocast(embedding.device.type, enabled=False):
        cosines = unit(embedding) @ unit(proxies.to(embedding.dtype)).T
    numbers = torch.arange(len(proxies), device=labels.device)
    # A label's place among the classes is itself; looking it up fails, as it should, where there is none.
    labelled = (labels >= 0).unsqueeze(1)
    own = (numbers[labels.clamp_min(0)].unsqueeze(1) == numbers) & labelled
    others = ~own & labelled
    pull = _soft_hinge(alpha * (margin - cosines), own).sum() / own.any(0).sum().clamp_min(1)
    return pull + _soft_hinge(alpha * (cosines + margin), others).mean()


def _soft_hinge(exponents: Tensor, mask: Tensor) -> Tensor:
    """(classes,) log(1 + Σ exp) over a column's mask."""
    return torch.cat([exponents.masked_fill(~mask, -torch.inf), torch.zeros_like(exponents[:1])]).logsumexp(0)


class ProxyAnchor(SupervisedLoss):
    """The module of :func:`proxy_anchor`, which owns the proxies.

    Args:
        num_classes: How many.
        dim: Of the embedding.
        alpha: Sharpness.
        margin: Of the hinges.

    Example:
        >>> ProxyAnchor(num_classes=10, dim=4).proxies.shape
        torch.Size([10, 4])
    """

    def __init__(self, num_classes: int, dim: int, alpha: float = 32.0, margin: float = 0.1) -> None:
        super().__init__()
        require_whole("proxy_anchor", num_classes=num_classes, dim=dim)
        require_positive("proxy_anchor", alpha=alpha)
        require_number("proxy_anchor", margin=margin)
        self.alpha = alpha
        self.margin = margin
        self.proxies = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.kaiming_normal_(self.proxies, mode="fan_out")

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`proxy_anchor`."""
        return proxy_anchor(embedding, labels, self.proxies, alpha=self.alpha, margin=self.margin)

    def extra_repr(self) -> str:
        """The settings."""
        classes, dim = self.proxies.shape
        return f"num_classes={classes}, dim={dim}, alpha={self.alpha}, margin={self.margin}"
