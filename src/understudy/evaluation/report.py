"""What an evaluation found, and under which rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from understudy.metrics import PairedTest


@dataclass(frozen=True)
class Report:
    """The figures of one evaluation.

    Attributes:
        protocol: The rules, such as ``metric_learning``.
        metrics: Each figure by name, such as ``recall@1``; shares between 0 and 1, correlations up to 1.
        counts: ``queries`` (all that were searched), ``skipped`` (those of them without a positive in the
            gallery; label metrics leave them out), ``gallery``, ``classes``, ``unlabelled`` (left out
            altogether).
        settings: What the figures depend on besides the embeddings: the distance, the cut-offs.
        seconds: How long the search and the metrics took.
        intervals: The bootstrap interval over queries of each figure that is a mean over queries.
        per_query: The values behind those means: float64, one for each query in the order they were given,
            NaN for a query that was skipped or left out. Not part of the JSON.
        beside: What others got under the same rules, by name: both models alone beside an asymmetric
            search, or the models compared with.
        tests: For each model compared with, the paired test of each figure (the first model's minus that
            model's).
        provenance: What is needed to measure again: versions, models, data, device.
        name: What the model is called in tables that show others too.
        prefixes: The reports of the first numbers of the embedding alone, by how many, the whole among them.

    Example:
        >>> report = Report("metric_learning", {"recall@1": 0.695, "map@r": 0.41}, {"queries": 200}, {}, 0.5)
        >>> print(report.table())
        | metric_learning | |
        |---|---:|
        | recall@1 | 69.50 % |
        | map@r | 41.00 % |
        | queries | 200 |
    """

    protocol: str
    metrics: dict[str, float]
    counts: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    per_query: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)
    beside: dict[str, Report] = field(default_factory=dict)
    tests: dict[str, dict[str, PairedTest]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    prefixes: dict[int, Report] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything but the values of single queries, as JSON holds it."""
        plain: dict[str, Any] = {
            "protocol": self.protocol,
            "metrics": self.metrics,
            "counts": self.counts,
            "settings": self.settings,
            "seconds": self.seconds,
        }
        if self.intervals:
            plain["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        if self.beside:
            plain["beside"] = {name: other.as_dict() for name, other in self.beside.items()}
        if self.tests:
            plain["tests"] = {
                name: {figure: vars(test) for figure, test in tests.items()}
                for name, tests in self.tests.items()
            }
        if self.prefixes:
            plain["prefixes"] = {str(dim): other.as_dict() for dim, other in self.prefixes.items()}
        if self.provenance:
            plain["provenance"] = self.provenance
        return plain

    def to_json(self) -> str:
        """The same, as indented JSON."""
        return json.dumps(self.as_dict(), indent=2)

    def table(self) -> str:
        """Figures and counts as a Markdown table, those of others beside them; below, lengths and tests."""
        columns = [self, *self.beside.values()]
        heads = [self.protocol, self.name if self.beside else "", *self.beside]
        lines = [_row(heads), _row(["---", *["---:"] * len(columns)], space="")]
        lines += [_row([name, *(_figure(column, name) for column in columns)]) for name in self.metrics]
        rest = [""] * len(self.beside)
        lines += [_row([name, f"{count:,}", *rest]) for name, count in self.counts.items()]
        for other in ("", *self.beside):
            lines += _by_length(self, other)
        for other, tests in self.tests.items():
            lines += ["", _row([f"against {other}", "difference", "p"])]
            lines.append(_row(["---", "---:", "---:"], space=""))
            lines += [_row([name, _points(test), f"{test.p_value:.4f}"]) for name, test in tests.items()]
        return "\n".join(lines)


def _by_length(report: Report, other: str) -> list[str]:
    """One row for each length, of the report or of one beside it; nothing where length changes nothing."""
    rows = {dim: one.beside.get(other) if other else one for dim, one in report.prefixes.items()}
    shown = {dim: one for dim, one in rows.items() if one is not None}
    if not shown or (other and all(one.metrics == report.beside[other].metrics for one in shown.values())):
        return []
    head = f"{other} dim" if other else "dim"
    lines = ["", _row([head, *report.metrics]), _row(["---:"] * (1 + len(report.metrics)), space="")]
    return lines + [
        _row([str(dim), *(_figure(one, name) for name in report.metrics)]) for dim, one in shown.items()
    ]


def in_words(name: str, value: float) -> str:
    """A figure as tables print it: shares in per cent, correlations as they are.

    Example:
        >>> in_words("recall@1", 0.695), in_words("rank_correlation", 0.8731)
        ('69.50 %', '0.873')
    """
    return f"{value:.3f}" if "correlation" in name else f"{100 * value:.2f} %"


def _figure(report: Report, name: str) -> str:
    """A figure with its interval; empty where the report has none of that name."""
    if name not in report.metrics:
        return ""
    words = in_words(name, report.metrics[name])
    if name not in report.intervals:
        return words
    low, high = report.intervals[name]
    digits = 1 if high - low >= 0.01 else 2  # a narrow one would round to a point beside its figure
    return f"{words} [{100 * low:.{digits}f}, {100 * high:.{digits}f}]"


def _points(test: PairedTest) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * test.difference:+.2f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}]"


def _row(cells: Sequence[str], space: str = " ") -> str:
    return "|" + "|".join(f"{space}{cell}{space}" if cell else " " for cell in cells) + "|"
