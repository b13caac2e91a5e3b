"""What a student learns from labels: dense forms that need no device synchronisation."""

from __future__ import annotations

from understudy.losses.supervised._base import SupervisedLoss
from understudy.losses.supervised.contrastive import Contrastive, Verification, contrastive, verification
from understudy.losses.supervised.cross_entropy import CrossEntropy, cross_entropy
from understudy.losses.supervised.l_softmax import LSoftmax, l_softmax
from understudy.losses.supervised.margin import Margin, RMargin
from understudy.losses.supervised.multi_similarity import MultiSimilarity, multi_similarity
from understudy.losses.supervised.proxy_anchor import ProxyAnchor, proxy_anchor
from understudy.losses.supervised.triplet import (
    LMNN,
    BatchHardTriplet,
    Triplet,
    batch_hard_triplet,
    lmnn,
    triplet,
)
from understudy.losses.supervised.tuple_contrastive import TupleContrastive, tuple_contrastive

__all__ = [
    "LMNN",
    "BatchHardTriplet",
    "Contrastive",
    "CrossEntropy",
    "LSoftmax",
    "Margin",
    "MultiSimilarity",
    "ProxyAnchor",
    "RMargin",
    "SupervisedLoss",
    "Triplet",
    "TupleContrastive",
    "Verification",
    "batch_hard_triplet",
    "contrastive",
    "cross_entropy",
    "l_softmax",
    "lmnn",
    "multi_similarity",
    "proxy_anchor",
    "triplet",
    "tuple_contrastive",
    "verification",
]
