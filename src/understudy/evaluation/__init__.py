"""Protocols: embeddings and labels in, a report out."""

from __future__ import annotations

from understudy.evaluation.agreement import agreement
from understudy.evaluation.embed import embed_pixels
from understudy.evaluation.metric_learning import metric_learning
from understudy.evaluation.query_gallery import query_gallery
from understudy.evaluation.report import Report

__all__ = ["Report", "agreement", "embed_pixels", "metric_learning", "query_gallery"]
