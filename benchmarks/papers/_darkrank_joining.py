"""Rows of several studies in one table: those that share a student, and what is compared between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from _darkrank_studies import ALONE, SCRATCH, TEACHER

from understudy.study.statistics import gap_closed, paired_test

TESTED = ("map", "cmc@1")
Row = dict[str, Any]


def joined(studies: Sequence[Mapping[str, Any]], beside: Sequence[Mapping[str, Any]] = ()) -> list[Row]:
    """The rows of some studies, each name once, with the share of the gap to the teacher that each closes.

    The gap of a student from random weights begins at the student alone from random weights.

    Args:
        studies: The results whose rows are wanted.
        beside: Results in which the student alone and the teacher are looked up too.
    """
    rows = {row["name"]: dict(row) for study in reversed(studies) for row in study["rows"]}
    known = {row["name"]: row for study in (*beside, *studies) for row in study["rows"]}
    order = dict.fromkeys(row["name"] for study in studies for row in study["rows"])
    for name, row in rows.items():
        alone, teacher = known.get(ALONE + SCRATCH * name.endswith(SCRATCH)), known.get(TEACHER)
        row["gap"] = {} if alone is None or teacher is None else _gaps(row, alone, teacher)
    return [rows[name] for name in order]


def tests(rows: Sequence[Mapping[str, Any]], pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Paired tests over the seeds of both rows of each pair that is there, by mAP and by rank-1."""
    by_name = {row["name"]: row for row in rows}
    found = []
    for first, second in pairs:
        a, b = by_name.get(first), by_name.get(second)
        if a is None or b is None or a["seeds"] != b["seeds"] or len(a["seeds"]) < 2:
            continue
        found += [
            paired_test(first, second, metric, a["metrics"][metric], b["metrics"][metric]).to_dict()
            for metric in TESTED
            if metric in a["metrics"] and metric in b["metrics"]
        ]
    return found


def _gaps(row: Row, alone: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, list[float]]:
    """The share of the gap, seed by seed, for the figures that all three have."""
    if row["seeds"] != alone["seeds"] or row["name"] == alone["name"]:
        return {}
    found = [row["metrics"], alone["metrics"], teacher["metrics"]]
    gaps = {
        metric: gap_closed(*(one[metric] for one in found))
        for metric in TESTED
        if all(metric in one for one in found)
    }
    return {metric: gap for metric, gap in gaps.items() if gap is not None}
