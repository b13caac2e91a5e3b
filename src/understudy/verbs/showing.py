"""Retrieval strips of an evaluation: which queries, what each model found for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from understudy import search
from understudy.errors import UserError
from understudy.evaluation import Report
from understudy.evaluation.plans import Plan
from understudy.evaluation.strips import Row, Strip, check_choice, choose_queries, nearest, write_pages

_SCORES = {
    "map": "AP",
    "medium/trapezoidal_map": "AP",
    "trapezoidal_map": "AP",
    "map@r": "AP@R",
}
"""What a query's score is, the first of these figures that a report has; else CMC at its first cut-off."""


@dataclass(frozen=True)
class StripsOf:
    """Which retrieval strips are drawn.

    Attributes:
        count: How many queries.
        out: The directory to write pages to; it must not exist.
        choose: ``random``, ``worst`` or ``different``, see `understudy.evaluation.strips.choose_queries`.
        results: How many results each.
    """

    count: int
    out: str | Path
    choose: str = "random"
    results: int = 10

    def check(self, models: int) -> None:
        """Refuses at the start what would fail at the end.

        Raises:
            UserError: A number below 1, an unknown choice, or a directory that exists.
        """
        for name, number in (("strips", self.count), ("results of a strip", self.results)):
            if number < 1:
                raise UserError(f"{number} {name}: give at least 1")
        check_choice(self.choose, models)
        if Path(self.out).exists():
            raise UserError(f"{str(self.out)!r} exists already: pass another place for the strips")


@dataclass(frozen=True)
class Shown:
    """One model's row of every strip.

    Attributes:
        name: What it is called; empty where it is the only one.
        report: Its figures, with the values of single queries.
        query: (n, d) vectors of the queries.
        gallery: (m, d) vectors of the gallery it is shown in.
    """

    name: str
    report: Report
    query: Tensor
    gallery: Tensor


def show(
    strips: StripsOf, plan: Plan, models: Sequence[Shown], *, metric: search.Metric, seed: int
) -> list[Path]:
    """Draws the strips and writes their pages.

    Args:
        strips: Which, and where to.
        plan: What was measured.
        models: The rows of each strip, from above.
        metric: The distance.
        seed: Of the random choice.

    Returns:
        The pages.

    Raises:
        UserError: Nothing was measured that says what is right, or the place cannot be written.
    """
    figure, word = _score(models[0].report)
    scores = [model.report.per_query[figure] for model in models]
    chosen = choose_queries(scores, strips.count, strips.choose, seed=seed)
    relation = plan.relation(chosen)
    found = []
    for model in models:
        device = model.query.device
        places = torch.tensor(chosen, device=device)
        rows, right = nearest(
            model.query[places], model.gallery, relation.to(device), strips.results, metric=metric
        )
        found.append((rows.tolist(), right.tolist()))
    drawn = [
        Strip(
            _caption(plan, int(plan.shown[query])),
            plan.dataset.image(int(plan.shown[query])),
            [
                Row(
                    model.name,
                    f"{word} {100 * float(score[query]):.1f} %",
                    [
                        (plan.dataset.image(int(plan.gallery[row])), "right" if yes else "wrong")
                        for row, yes in zip(rows[place], right[place], strict=True)
                        if row >= 0
                    ],
                )
                for model, score, (rows, right) in zip(models, scores, found, strict=True)
            ],
        )
        for place, query in enumerate(chosen)
    ]
    return write_pages(drawn, strips.out, title=f"{plan.dataset.name}, {plan.protocol}")


def _score(report: Report) -> tuple[str, str]:
    """The figure that scores queries, and what it is called.

    Raises:
        UserError: Nothing was measured that says what is right.
    """
    cmc = [(name, name.upper()) for name in report.per_query if name.startswith("cmc@")]
    known = [(name, word) for name, word in _SCORES.items() if name in report.per_query]
    if not known and not cmc:
        raise UserError("strips show what is right and what is wrong: this data has no labels to say it by")
    return (known or cmc)[0]


def _caption(plan: Plan, row: int) -> str:
    """What an image shows: its label, or its id where it has none, and its camera."""
    manifest = plan.manifest
    parts = [manifest.labels[row] or manifest.ids[row]]
    if manifest.cameras is not None and manifest.cameras[row]:
        parts.append(manifest.cameras[row])
    return " · ".join(parts)
