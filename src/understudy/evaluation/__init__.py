"""Protocols: embeddings and labels in, a report out."""

from __future__ import annotations

from understudy.evaluation.agreement import agreement
from understudy.evaluation.asymmetric import Embedded, asymmetric
from understudy.evaluation.describe import THREE_SCALES, Describing
from understudy.evaluation.embed import embed_pixels
from understudy.evaluation.metric_learning import metric_learning
from understudy.evaluation.query_gallery import query_gallery
from understudy.evaluation.reidentification import MultiQueries, multi_queries, reidentification
from understudy.evaluation.report import Report
from understudy.evaluation.revisited import revisited
from understudy.evaluation.settings import Options, Settings
from understudy.evaluation.single_shot import single_gallery_shot
from understudy.evaluation.whitening import Whitening, fit_learned, fit_pca, matching_pairs

__all__ = [
    "THREE_SCALES",
    "Describing",
    "Embedded",
    "MultiQueries",
    "Options",
    "Report",
    "Settings",
    "Whitening",
    "agreement",
    "asymmetric",
    "embed_pixels",
    "fit_learned",
    "fit_pca",
    "matching_pairs",
    "metric_learning",
    "multi_queries",
    "query_gallery",
    "reidentification",
    "revisited",
    "single_gallery_shot",
]
