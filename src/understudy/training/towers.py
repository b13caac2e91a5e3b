"""What a run measures besides its student's whole embedding: the teacher's gallery, and every length."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from understudy.evaluation import Report, metric_learning
from understudy.evaluation.inputs import Labels
from understudy.models.embedder import Embedder

ASYMMETRIC = "asymmetric/"


def further(
    report: Report,
    model: Embedder,
    embeddings: Tensor,
    labels: Labels,
    *,
    reference: Tensor | None,
    gallery: Tensor | None,
) -> Report:
    """A run's report with the figures that its student's projection and prefixes give.

    Args:
        report: The figures of the whole embedding.
        model: The student.
        embeddings: (n, d) its embeddings of a split.
        labels: (n,) their class numbers.
        reference: (n, d) what agreement is measured with, or None.
        gallery: (n, d_T) the embeddings of the teacher whose space the student projects into, or None.

    Returns:
        The report, its figures followed by the same of the student's queries in the teacher's gallery
        (``asymmetric/recall@1``, …) and by the first of them at every length (``dim16/recall@1``).
    """
    more: dict[str, float] = {}
    first = next(iter(report.metrics))
    with torch.no_grad():
        if gallery is not None and model.space is not None:
            projected = model.reduce(embeddings, space="teacher")
            found = metric_learning(projected, labels, gallery=gallery, reference=reference)
            more |= {ASYMMETRIC + name: value for name, value in found.metrics.items()}
        for dim in model.prefixes:
            found = metric_learning(model.reduce(embeddings, dim), labels, reference=reference)
            more[f"dim{dim}/{first}"] = found.metrics[first]
    return replace(report, metrics=report.metrics | more)


def further_names(names: tuple[str, ...], model: Embedder, *, with_gallery: bool) -> tuple[str, ...]:
    """The names of all figures of a run, from those of the whole embedding.

    Example:
        >>> from understudy.models import build_embedder
        >>> model = build_embedder({"backbone": "smallconv_8", "prefixes": [4]})
        >>> further_names(("map",), model, with_gallery=True)
        ('map', 'dim4/map')
    """
    asymmetric = [ASYMMETRIC + name for name in names] if with_gallery and model.space is not None else []
    return (*names, *asymmetric, *(f"dim{dim}/{names[0]}" for dim in model.prefixes))
