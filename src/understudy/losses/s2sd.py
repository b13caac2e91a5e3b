"""S2SD: an embedding learns the similarities of larger embeddings that share its backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from understudy.losses._relations import require_number
from understudy.losses.similarity_kl import similarity_kl


def s2sd(
    base: Tensor,
    auxiliaries: Sequence[Tensor],
    *,
    pooled: Tensor | None = None,
    pooled_active: float | Tensor = 1.0,
    temperature: float = 1.0,
    gamma: float = 50.0,
    gamma_pooled: float = 50.0,
) -> Tensor:
    """The distillation part of S2SD: everything but the metric-learning criteria.

    With L_dist(A, B) = (T²/n) Σ_i KL(σ(sg(B_i)/T) ‖ σ(A_i/T)), cosines with the diagonal included:

        L = (γ/m) Σ_k L_dist(D^f, D^k) + active · γ_F · L_dist(D^f, D^φ)

    One auxiliary embedding makes DSD, several MSD, ``pooled`` MSDF (from average-pooled features) or MSDFA
    (average plus maximum; the auxiliary heads are then fed the same). The gradient reaches ``base`` and what
    lies before it; auxiliaries and pooled features are targets (stop-gradient, sg). The whole objective is
    ½[L_DML(Z_f) + (1/m) Σ_k L_DML(Z_k)] plus this; the criteria live with the task.

    Source: Roth, Milbich, Ommer, Cohen, Ghassemi, "Simultaneous Similarity-based Self-Distillation for Deep
    Metric Learning", ICML 2021, exact from the authors' code (γ = 50, γ_F = 50 or 5, T = 1). Labels: none in
    this part. Dimensions: differ by design. Teacher: the network itself.

    Args:
        base: (n, D) embeddings of the base head.
        auxiliaries: One (n, d_k) embedding for each auxiliary head; at least one.
        pooled: (n, F) pooled backbone features, or None.
        pooled_active: 0 before the delay, 1 from then on; a 0-dim tensor lets a captured graph switch it on.
        temperature: T.
        gamma: γ.
        gamma_pooled: γ_F.

    Raises:
        ValueError: On wrong shapes, no auxiliary embedding, or settings out of range.

    Example:
        >>> import torch
        >>> base, auxiliary = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> s2sd(base, [auxiliary, base])
        tensor(3.0029)
    """
    if not auxiliaries:
        raise ValueError("s2sd needs at least one auxiliary embedding, got none")
    require_number("s2sd", minimum=0, gamma=gamma, gamma_pooled=gamma_pooled)

    def distil(target: Tensor) -> Tensor:
        return similarity_kl(base, target, temperature=temperature, include_self=True)

    total = distil(auxiliaries[0])
    for auxiliary in auxiliaries[1:]:
        total = total + distil(auxiliary)
    total = total * (gamma / len(auxiliaries))
    if pooled is not None:
        total = total + pooled_active * gamma_pooled * distil(pooled)
    return total
