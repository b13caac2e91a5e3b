"""What losses on labels share: the class above them, who is alike and who differs, and means over masks."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from understudy.losses._distances import widest


class SupervisedLoss(nn.Module):
    """A loss on embeddings (or logits) and labels, of the labelled rows alone.

    Rows with a negative label take no part: the value is that of the loss on the other rows. Masks see to it,
    without synchronising the device, so a CUDA graph can record the loss.

    Attributes:
        inputs: What the task must supply.
        capturable: Whether a CUDA graph can record it.
        random: Whether it draws from its generator.
    """

    inputs: ClassVar[tuple[str, ...]] = ("embedding", "labels")
    capturable: ClassVar[bool] = True
    random: ClassVar[bool] = False

    def forward(self, embedding: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        """The loss of a batch.

        Args:
            embedding: (n, d); raised to float32 at least.
            labels: (n,) int64; negative means unlabelled.
            generator: The source of randomness, for those losses that have any.

        Returns:
            A scalar; zero, with a graph, when no labelled row has a partner it needs.
        """
        del generator
        return self.compare(embedding, labels)

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """The loss itself; see :meth:`forward`."""
        raise NotImplementedError


def pair_masks(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Says which pairs of rows are of one class (a row and itself are no pair), and which are of two.

    Example:
        >>> same, different = pair_masks(torch.tensor([4, 4, 7, -1]))
        >>> same.nonzero().tolist(), different.nonzero().tolist()
        ([[0, 1], [1, 0]], [[0, 2], [1, 2], [2, 0], [2, 1]])
    """
    labelled = labels >= 0
    equal = labels.unsqueeze(1) == labels
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return equal & labelled & ~itself, ~equal & labelled & labelled.unsqueeze(1)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of finite values where a mask is True; 0 where it nowhere is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def mean_of_positive(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of those masked values that are above 0 (hinges that are not met); 0 without any.

    Example:
        >>> mean_of_positive(torch.tensor([3.0, 0.0, 1.0, 9.0]), torch.tensor([True, True, True, False]))
        tensor(2.)
    """
    return masked_mean(values, mask & (values > 0))


def hinge_sums(positive: Tensor, other: Tensor, different: Tensor, margin: float) -> Tensor:
    """Σ_n [x_ap − y_an + margin]₊ over the rows n that differ from a, for every pair (a, p).

    A row's y are sorted and summed up once, and each x looks up how many of them it exceeds: O(n² log n) work
    and O(n²) memory for the n³ triplets.

    Args:
        positive: (n, n) x.
        other: (n, n) y.
        different: (n, n) bool.
        margin: The margin.

    Returns:
        (n, n) sums, float64 where the device has it.

    Example:
        >>> x, y = torch.tensor([[2.0]]), torch.tensor([[1.0, 2.5, 9.0, 0.0]])
        >>> hinge_sums(x, y, torch.tensor([[True, True, True, False]]), margin=1.0)  # [2]₊ + [0.5]₊ + [−6]₊
        tensor([[2.5000]], dtype=torch.float64)
    """
    sorted_others = widest(other).masked_fill(~different, torch.inf).sort(dim=1).values
    sums = sorted_others.masked_fill(sorted_others.isinf(), 0.0).cumsum(1)
    reach = widest(positive) + margin
    exceeded = torch.searchsorted(sorted_others.detach(), reach.detach().contiguous())
    return exceeded * reach - torch.nn.functional.pad(sums, (1, 0)).gather(1, exceeded)
