"""The protocol of revisited Oxford and Paris: easy, medium and hard."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor

from understudy.data.protocol import RELEVANCES
from understudy.errors import UserError
from understudy.evaluation.inputs import Labels, Vectors, as_labels, as_pair, as_vectors
from understudy.evaluation.lists import joined, of_pairs
from understudy.evaluation.ranking import Ranking, agreement_figures, ranked_figures
from understudy.evaluation.reidentification import CUTS
from understudy.evaluation.report import Report
from understudy.evaluation.settings import Options, Settings
from understudy.evaluation.sides import check_dimensions
from understudy.evaluation.summary import summed_up

LEVELS = {
    "easy": (("positive", "easy"), ("hard", "junk")),
    "medium": (("positive", "easy", "hard"), ("junk",)),
    "hard": (("positive", "hard"), ("easy", "junk")),
}
"""What counts as found, and what is not looked at, on each level."""


def revisited(
    query: Vectors,
    gallery: Vectors,
    query_of: Labels,
    gallery_of: Labels,
    relevance: Labels,
    *,
    reference: tuple[Vectors, Vectors] | None = None,
    **options: Unpack[Options],
) -> Report:
    """Ranks a gallery for each query by the ground truth of pairs, on three levels.

    Easy: easy images are positives, hard ones and junk are not looked at. Medium: easy and hard ones are
    positives, junk is not looked at. Hard: hard ones are positives, easy ones and junk are not looked at. A
    query without a positive on a level is skipped there. Where the ground truth knows neither easy nor hard,
    only positive and junk, there is one level.

    Source: Radenović et al., "Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking", CVPR
    2018, section 2, and its published script (trapezoidal average precision, mP@k with k cut to the rank of
    the last positive).

    Args:
        query: (n, d), NumPy or torch, on any device.
        gallery: (m, d).
        query_of: (p,) the query of each pair of the ground truth, a row of ``query``.
        gallery_of: (p,) its gallery image, a row of ``gallery``.
        relevance: (p,) the place of its relevance in `understudy.data.protocol.RELEVANCES`. Pairs that are
            not listed are negative.
        reference: Embeddings of the same queries and the same gallery by another model.
        **options: `Settings`; ``ks`` is 1, 5 and 10 by default.

    Returns:
        ``LEVEL/trapezoidal_map`` and ``LEVEL/mp@k`` for each level; ``neighbour_overlap@k`` where there is a
        reference. ``skipped`` is counted for each level.

    Raises:
        UserError: There is nothing to measure, a pair is listed twice, or an embedding is not finite.
        ValueError: Shapes that do not fit together, or settings out of range.

    Example:
        >>> query, gallery = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.9, 0.1], [0.8, 0.3], [0.5, 0.5]])
        >>> report = revisited(query, gallery, [0, 0], [0, 2], [1, 2], ks=(1,))  # easy, negative, hard
        >>> {name: round(value, 3) for name, value in report.metrics.items()}
        {'easy/trapezoidal_map': 1.0, 'easy/mp@1': 1.0, 'medium/trapezoidal_map': 0.792, 'medium/mp@1': 1.0,
         'hard/trapezoidal_map': 0.25, 'hard/mp@1': 0.0}
    """
    started = time.perf_counter()
    settings = Settings.of(options, ks=CUTS)
    ours = as_vectors("query", query)
    base = as_vectors("gallery", gallery, ours.device)
    check_dimensions(ours, base)
    theirs = None if reference is None else as_pair(reference, len(ours), len(base), ours.device)
    codes = as_labels("ground truth's", relevance, len(relevance), ours.device, what="relevances")
    pairs = (
        as_labels("ground truth's", query_of, len(codes), ours.device, what="queries"),
        as_labels("ground truth's", gallery_of, len(codes), ours.device, what="gallery rows"),
    )
    _check_pairs(*pairs, len(ours), len(base))
    whole = Ranking(ours, base, reference=theirs)
    values: dict[str, Tensor] = {}
    counts = {"queries": len(ours), "gallery": len(base)}
    for level, (found, hidden) in _levels(codes).items():
        wanted, excluded = (
            of_pairs(pairs[0][some], pairs[1][some], len(ours))
            for some in (_among(codes, found), _among(codes, hidden))
        )
        ranking = replace(whole, wanted=wanted, positives=wanted.length, excluded=excluded)
        counts[f"skipped {level}".rstrip()] = int((wanted.length == 0).sum())
        if bool((wanted.length > 0).any()):
            figures = ranked_figures(ranking, settings, ("trapezoidal_map", "mp"))
            values |= {f"{level}/{name}".lstrip("/"): value for name, value in figures.items()}
    if not values:
        raise UserError("there is nothing to measure: the ground truth gives no query a positive")
    if theirs is not None:
        values |= agreement_figures(whole, settings)
    return summed_up("revisited", values, counts, settings, started)


def _levels(codes: Tensor) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """The three levels; one without a name where nothing is easy or hard."""
    if bool(_among(codes, ("easy", "hard")).any()):
        return LEVELS
    return {"": (("positive",), ("junk",))}


def _among(codes: Tensor, words: tuple[str, ...]) -> Tensor:
    """Which pairs are of one of some relevances."""
    known = torch.tensor([RELEVANCES.index(word) for word in words], device=codes.device)
    return torch.isin(codes, known)


def _check_pairs(query_of: Tensor, gallery_of: Tensor, queries: int, gallery: int) -> None:
    for side, rows, count in (("query", query_of, queries), ("gallery", gallery_of, gallery)):
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < count:
            raise ValueError(f"the ground truth speaks of {side} rows beyond the {count} there are")
    twice = len(query_of) - len(torch.unique(joined(query_of, gallery_of)))
    if twice:
        raise UserError(f"the ground truth lists {twice} pairs of query and image twice: list each once")
