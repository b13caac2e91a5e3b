"""What a student learns from: pure functions and thin modules over them; they know no model and no data."""

from __future__ import annotations

from understudy.losses.attention import AttentionTransfer, attention_transfer
from understudy.losses.contextual_similarity import ContextualSimilarity, contextual_similarity
from understudy.losses.correlation_congruence import CorrelationCongruence, correlation_congruence
from understudy.losses.darkrank_alpha import alpha_from_teacher
from understudy.losses.darkrank_hard import HardDarkRank, hard_darkrank
from understudy.losses.darkrank_score import darkrank_from_authors
from understudy.losses.darkrank_soft import SoftDarkRank, soft_darkrank
from understudy.losses.direct_match import DirectMatch, direct_match
from understudy.losses.fitnet import FitNet, fitnet
from understudy.losses.hint import Hint, hint
from understudy.losses.interpolated import Interpolated
from understudy.losses.metrics_from_teachers import (
    AbsoluteTeacher,
    RelativeTeacher,
    absolute_teacher,
    relative_teacher,
)
from understudy.losses.mixtures import interpolate
from understudy.losses.pkt import PKT, pkt
from understudy.losses.plackett_luce import plackett_luce_log_likelihood
from understudy.losses.plackett_luce_exact import plackett_luce_kl
from understudy.losses.plackett_luce_sampled import plackett_luce_kl_sampled
from understudy.losses.pml import PmlLoss
from understudy.losses.registry import LOSSES, LossEntry, build_loss, default_weight, loss_names
from understudy.losses.relaxed_contrastive import RelaxedContrastive, relaxed_contrastive
from understudy.losses.rkd import RKDAngle, RKDDistance, rkd_angle, rkd_distance
from understudy.losses.s2sd import s2sd
from understudy.losses.similarity_kl import SimilarityKL, similarity_kl
from understudy.losses.similarity_preserving import SimilarityPreserving, similarity_preserving
from understudy.losses.soft_target import SoftTarget, soft_target
from understudy.losses.supervised import (
    LMNN,
    BatchHardTriplet,
    Contrastive,
    CrossEntropy,
    LSoftmax,
    Margin,
    MultiSimilarity,
    ProxyAnchor,
    RMargin,
    Triplet,
    TupleContrastive,
    Verification,
    batch_hard_triplet,
    contrastive,
    cross_entropy,
    l_softmax,
    lmnn,
    multi_similarity,
    proxy_anchor,
    triplet,
    tuple_contrastive,
    verification,
)

__all__ = [
    "LMNN",
    "LOSSES",
    "PKT",
    "AbsoluteTeacher",
    "AttentionTransfer",
    "BatchHardTriplet",
    "ContextualSimilarity",
    "Contrastive",
    "CorrelationCongruence",
    "CrossEntropy",
    "DirectMatch",
    "FitNet",
    "HardDarkRank",
    "Hint",
    "Interpolated",
    "LSoftmax",
    "LossEntry",
    "Margin",
    "MultiSimilarity",
    "PmlLoss",
    "ProxyAnchor",
    "RKDAngle",
    "RKDDistance",
    "RMargin",
    "RelativeTeacher",
    "RelaxedContrastive",
    "SimilarityKL",
    "SimilarityPreserving",
    "SoftDarkRank",
    "SoftTarget",
    "Triplet",
    "TupleContrastive",
    "Verification",
    "absolute_teacher",
    "alpha_from_teacher",
    "attention_transfer",
    "batch_hard_triplet",
    "build_loss",
    "contextual_similarity",
    "contrastive",
    "correlation_congruence",
    "cross_entropy",
    "darkrank_from_authors",
    "default_weight",
    "direct_match",
    "fitnet",
    "hard_darkrank",
    "hint",
    "interpolate",
    "l_softmax",
    "lmnn",
    "loss_names",
    "multi_similarity",
    "pkt",
    "plackett_luce_kl",
    "plackett_luce_kl_sampled",
    "plackett_luce_log_likelihood",
    "proxy_anchor",
    "relative_teacher",
    "relaxed_contrastive",
    "rkd_angle",
    "rkd_distance",
    "s2sd",
    "similarity_kl",
    "similarity_preserving",
    "soft_darkrank",
    "soft_target",
    "triplet",
    "tuple_contrastive",
    "verification",
]
