"""What an evaluation found, and under which rules."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


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

    def to_json(self) -> str:
        """Everything, as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    def table(self) -> str:
        """The figures and counts as a Markdown table."""
        lines = [f"| {self.protocol} | |", "|---|---:|"]
        lines += [f"| {name} | {in_words(name, value)} |" for name, value in self.metrics.items()]
        lines += [f"| {name} | {count:,} |" for name, count in self.counts.items()]
        return "\n".join(lines)


def in_words(name: str, value: float) -> str:
    """A figure as tables print it: shares in per cent, correlations as they are.

    Example:
        >>> in_words("recall@1", 0.695), in_words("rank_correlation", 0.8731)
        ('69.50 %', '0.873')
    """
    return f"{value:.3f}" if "correlation" in name else f"{100 * value:.2f} %"
