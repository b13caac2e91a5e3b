"""Cross-entropy of the classes, over the labelled rows."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from understudy.losses._checks import check_supervised
from understudy.losses.supervised._base import SupervisedLoss, masked_mean


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean over labelled rows of −log softmax of the logits at the label.

    Args:
        logits: (n, classes).
        labels: (n,) int64 below the number of classes; negative means unlabelled.
        label_smoothing: The share of the target that is spread over all classes.

    Example:
        >>> import torch
        >>> cross_entropy(torch.tensor([[1.0, 3.0], [5.0, 5.0]]).log(), torch.tensor([1, -1]))
        tensor(0.2877)
    """
    logits = check_supervised("cross_entropy", logits, labels)
    rows = F.cross_entropy(logits, labels.clamp_min(0), reduction="none", label_smoothing=label_smoothing)
    return masked_mean(rows, labels >= 0)


class CrossEntropy(SupervisedLoss):
    """The module of :func:`cross_entropy`, on the logits of the student's classifier.

    Args:
        label_smoothing: The share of the target that is spread over all classes.

    Example:
        >>> import torch
        >>> CrossEntropy()(torch.zeros(2, 4), torch.tensor([0, 3]))
        tensor(1.3863)
    """

    inputs: ClassVar[tuple[str, ...]] = ("logits", "labels")

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"cross_entropy needs label_smoothing in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def compare(self, embedding: Tensor, labels: Tensor) -> Tensor:
        """See :func:`cross_entropy`; ``embedding`` holds the logits."""
        return cross_entropy(embedding, labels, label_smoothing=self.label_smoothing)

    def extra_repr(self) -> str:
        """The setting."""
        return f"label_smoothing={self.label_smoothing}"
