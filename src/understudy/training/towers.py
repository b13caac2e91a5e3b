"""What a run measures besides its student's whole embedding: the teacher's gallery, and every length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from understudy.evaluation import Report
from understudy.evaluation.rows import Vectors
from understudy.models.embedder import Embedder
from understudy.training.protocols import Part

ASYMMETRIC = "asymmetric/"


def further(
    report: Report,
    model: Embedder,
    part: Part,
    vectors: Vectors,
    *,
    reference: Vectors | None,
    gallery: Vectors | None,
) -> Report:
    """A run's report with the figures of its student's queries in the teacher's gallery, and of its prefixes.

    Args:
        report: The figures of the whole embedding.
        model: The student.
        part: The first of the protocols that it was measured by.
        vectors: The student's embeddings.
        reference: What agreement is measured with, or None.
        gallery: The embeddings of the teacher whose space is the student's, or that it projects into; or
            None.

    Returns:
        The report, its figures followed by the same of the student's queries in the teacher's gallery
        (``asymmetric/recall@1``, …) and by the first of them at every length (``dim16/recall@1``).
    """
    more: dict[str, float] = {}
    first = next(iter(report.metrics))
    with torch.no_grad():
        if gallery is not None:
            projects = model.space is not None
            asked = model.reduce(vectors.values, space="teacher") if projects else vectors.values
            asking = replace(vectors, values=asked)
            found = part.found(asking, gallery, reference)
            more |= {ASYMMETRIC + name: value for name, value in found.metrics.items()}
        for dim in model.prefixes:
            shorter = replace(vectors, values=model.reduce(vectors.values, dim))
            more[f"dim{dim}/{first}"] = part.found(shorter, shorter, reference).metrics[first]
    return replace(report, metrics=report.metrics | more)


def further_names(
    names: Sequence[tuple[str, ...]], model: Embedder, *, with_gallery: bool
) -> tuple[str, ...]:
    """The names of all figures of a run, from those of the whole embedding by each protocol.

    Example:
        >>> from understudy.models import build_embedder
        >>> model = build_embedder({"backbone": "smallconv_8", "prefixes": [4]})
        >>> further_names([("map",), ("multi/map",)], model, with_gallery=True)
        ('map', 'multi/map', 'asymmetric/map', 'dim4/map')
    """
    alone = [name for protocol in names for name in protocol]
    asymmetric = [ASYMMETRIC + name for name in names[0]] if with_gallery else []
    shorter = [f"dim{dim}/{names[0][0]}" for dim in model.prefixes]
    return tuple(dict.fromkeys([*alone, *asymmetric, *shorter]))
