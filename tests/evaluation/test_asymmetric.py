"""The asymmetric search around any protocol, and two models on the same queries."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import Embedded, Report, asymmetric, metric_learning, query_gallery
from understudy.evaluation.comparing import against


def two_models(n: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (n,), generator=generator)
    teacher = torch.randn(7, 5, generator=generator)[labels] + torch.randn(n, 5, generator=generator)
    return teacher + 0.8 * torch.randn(n, 5, generator=generator), teacher, labels


def by_loop(query: Tensor, gallery: Tensor, labels: Tensor) -> float:
    """Recall@1, image i not seen by query i."""
    q, g = (torch.nn.functional.normalize(x.double(), dim=1) for x in (query, gallery))
    hits = []
    for i in range(len(q)):
        others = [j for j in range(len(g)) if j != i]
        best = max(others, key=lambda j: float(q[i] @ g[j]))
        if any(labels[j] == labels[i] for j in others):
            hits.append(bool(labels[best] == labels[i]))
    return sum(hits) / len(hits)


def test_each_image_is_not_seen_by_itself_in_the_others_gallery() -> None:
    student, teacher, labels = two_models()
    labels[[4, 9]] = -1

    def protocol(query: object, gallery: object) -> Report:
        assert isinstance(query, Tensor)
        assert isinstance(gallery, Tensor)
        return metric_learning(query, labels, gallery=gallery)

    report = asymmetric(protocol, Embedded(student, student), Embedded(teacher, teacher))
    kept = labels >= 0
    for got, query, gallery in (
        (report, student, teacher),
        (report.beside["student"], student, student),
        (report.beside["teacher"], teacher, teacher),
    ):
        assert got.metrics["recall@1"] == pytest.approx(by_loop(query[kept], gallery[kept], labels[kept]))
    assert report.protocol == "asymmetric metric_learning"
    assert report.beside["student"].metrics == metric_learning(student, labels).metrics
    first, _, *rest = report.table().splitlines()
    assert first == "| asymmetric metric_learning | | student | teacher |"
    assert all(line.count("|") == 5 for line in rest)


def test_what_is_missing_is_left_out_and_other_dimensions_are_refused() -> None:
    student, teacher, labels = two_models()

    def protocol(query: object, gallery: object) -> Report:
        assert isinstance(query, Tensor)
        assert isinstance(gallery, Tensor)
        return query_gallery(query, gallery, labels[:10], labels[10:])

    report = asymmetric(protocol, Embedded(student[:10], student[10:]), Embedded(None, teacher[10:]))
    assert list(report.beside) == ["student"]
    with pytest.raises(
        UserError, match=r"5 dimensions and the gallery 3: train the model .* student.dim 3 and"
    ):
        asymmetric(protocol, Embedded(student[:10], None), Embedded(None, teacher[10:, :3]))
    with pytest.raises(ValueError, match="needs the student's queries"):
        asymmetric(protocol, Embedded(None, student), Embedded(None, teacher))


def test_the_paired_test_is_over_the_queries_that_count() -> None:
    student, teacher, labels = two_models()
    labels[0] = 50  # alone in its class: skipped
    ours, theirs = (metric_learning(x, labels, confidence=0.9) for x in (teacher, student))
    report = against(ours, {"student": theirs})
    for name, test in report.tests["student"].items():
        difference = ours.per_query[name] - theirs.per_query[name]
        assert test.difference == pytest.approx(float(difference[1:].mean()))
        assert test.difference == pytest.approx(ours.metrics[name] - theirs.metrics[name])
    lines = report.table().splitlines()
    assert "| against student | difference | p |" in lines
    assert report.as_dict()["tests"]["student"]["recall@1"]["p_value"] <= 1
    fewer = {name: value.clone() for name, value in theirs.per_query.items()}
    fewer["recall@1"][3] = torch.nan
    with pytest.raises(UserError, match="'student' was not measured on the same queries"):
        against(ours, {"student": replace(theirs, per_query=fewer)})


def test_intervals_are_shown_behind_their_figures() -> None:
    report = Report("p", {"recall@1": 0.695, "map": 0.9998}, {}, intervals={"recall@1": (0.6612, 0.7281)})
    assert "| recall@1 | 69.50 % [66.1, 72.8] |" in report.table()
    narrow = replace(report, intervals={"map": (0.9995, 1.0)})
    assert "| map | 99.98 % [99.95, 100.00] |" in narrow.table()
    assert narrow.as_dict()["intervals"] == {"map": [0.9995, 1.0]}
