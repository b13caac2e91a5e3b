"""What a student learns from: pure functions and thin modules over them; they know no model and no data."""

from __future__ import annotations

from understudy.losses.attention import AttentionTransfer, attention_transfer
from understudy.losses.contextual_similarity import ContextualSimilarity, contextual_similarity
from understudy.losses.correlation_congruence import CorrelationCongruence, correlation_congruence
from understudy.losses.hint import Hint, hint
from understudy.losses.interpolated import Interpolated
from understudy.losses.metrics_from_teachers import (
    AbsoluteTeacher,
    RelativeTeacher,
    absolute_teacher,
    relative_teacher,
)
from understudy.losses.pkt import PKT, pkt
from understudy.losses.relaxed_contrastive import RelaxedContrastive, relaxed_contrastive
from understudy.losses.rkd import RKDAngle, RKDDistance, rkd_angle, rkd_distance
from understudy.losses.s2sd import s2sd
from understudy.losses.similarity_kl import SimilarityKL, similarity_kl
from understudy.losses.similarity_preserving import SimilarityPreserving, similarity_preserving

__all__ = [
    "PKT",
    "AbsoluteTeacher",
    "AttentionTransfer",
    "ContextualSimilarity",
    "CorrelationCongruence",
    "Hint",
    "Interpolated",
    "RKDAngle",
    "RKDDistance",
    "RelativeTeacher",
    "RelaxedContrastive",
    "SimilarityKL",
    "SimilarityPreserving",
    "absolute_teacher",
    "attention_transfer",
    "contextual_similarity",
    "correlation_congruence",
    "hint",
    "pkt",
    "relative_teacher",
    "relaxed_contrastive",
    "rkd_angle",
    "rkd_distance",
    "s2sd",
    "similarity_kl",
    "similarity_preserving",
]
