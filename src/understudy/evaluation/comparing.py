"""Another model on the same queries: is the difference more than chance?"""

from __future__ import annotations

from dataclasses import replace

from understudy.errors import UserError
from understudy.evaluation.report import Report
from understudy.metrics import PairedTest, paired_test


def against(report: Report, others: dict[str, Report], *, resamples: int = 10_000, seed: int = 0) -> Report:
    """Puts other models' reports beside one, and the paired test of every figure over the queries.

    Args:
        report: The first model's.
        others: The others' by name, measured by the same protocol on the same queries.
        resamples: How often signs are drawn for each test.
        seed: Of the drawing.

    Returns:
        The report with ``beside`` and ``tests``; a positive difference says that the first model is better.

    Raises:
        UserError: The queries that count differ.

    Example:
        >>> import torch
        >>> from understudy.evaluation import metric_learning
        >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> labels = [0, 0, 1, 1]
        >>> report = metric_learning(points, labels)
        >>> against(report, {"twin": metric_learning(2 * points, labels)}).tests["twin"]["recall@1"].p_value
        1.0
    """
    tests: dict[str, dict[str, PairedTest]] = {}
    for name, other in others.items():
        tests[name] = {}
        for figure, values in report.per_query.items():
            if figure not in other.per_query:
                continue
            theirs = other.per_query[figure]
            counted = ~values.isnan()
            if values.shape != theirs.shape or bool((counted != ~theirs.isnan()).any()):
                raise UserError(
                    f"{name!r} was not measured on the same queries: leave it out of the comparison"
                )
            tests[name][figure] = paired_test(
                values[counted], theirs[counted], resamples=resamples, seed=seed
            )
    return replace(report, beside=report.beside | others, tests=report.tests | tests)
