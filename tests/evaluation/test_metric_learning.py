"""The metric-learning protocol against loops over every pair."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import metric_learning


def classes(n: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points around class centres; some classes have one image."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 9, (n,), generator=generator)
    labels[0], labels[1] = 50, 51
    centres = torch.randn(60, dim, generator=generator)
    return torch.randn(n, dim, generator=generator) + centres[labels], labels


def ranking(points: Tensor, i: int, members: list[int]) -> list[int]:
    """The other members, by falling cosine to point i."""
    unit = torch.nn.functional.normalize(points.double(), dim=1)
    return sorted((j for j in members if j != i), key=lambda j: (-float(unit[i] @ unit[j]), j))


def by_loop(points: Tensor, labels: Tensor, ks: tuple[int, ...]) -> dict[str, float]:
    members = [i for i in range(len(points)) if labels[i] >= 0]
    recall: dict[int, list[bool]] = {k: [] for k in ks}
    precision, at_r = [], []
    for i in members:
        right = [bool(labels[j] == labels[i]) for j in ranking(points, i, members)]
        if not any(right):
            continue
        for k in ks:
            recall[k].append(any(right[:k]))
        r = sum(right)
        precision.append(sum(sum(right[: n + 1]) / (n + 1) for n in range(r) if right[n]) / r)
        at_r.append(sum(right[:r]) / r)
    return {
        **{f"recall@{k}": sum(hits) / len(hits) for k, hits in recall.items()},
        "map@r": sum(precision) / len(precision),
        "r_precision": sum(at_r) / len(at_r),
    }


@pytest.mark.parametrize("block_bytes", [1, 3_000, 2**20])
def test_equals_a_loop_over_all_pairs(block_bytes: int) -> None:
    points, labels = classes(71, 5, 0)
    labels[[4, 30, 31]] = -1
    report = metric_learning(points, labels, ks=(1, 2, 4), block_bytes=block_bytes)
    want = by_loop(points, labels, (1, 2, 4))
    assert list(report.metrics) == list(want)
    assert report.metrics == pytest.approx(want, rel=1e-12)
    assert report.counts == {"queries": 68, "skipped": 2, "gallery": 68, "classes": 11, "unlabelled": 3}
    assert report.protocol == "metric_learning"


def test_duplicates_do_not_hide_a_query_behind_itself() -> None:
    #   image 1 is a copy of 0 with another label: each must find the other first, not itself
    points = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1], [0.9, 0.1]])
    report = metric_learning(points, [0, 1, 0, 1], ks=(1,))
    assert report.metrics["recall@1"] == 0.0


def test_overlap_with_the_reference_equals_sets() -> None:
    points, labels = classes(47, 6, 1)
    teacher = points[:, :4] + 0.3 * torch.randn(47, 4, generator=torch.Generator().manual_seed(2))
    labels[7] = -1
    report = metric_learning(points, labels, reference=teacher, overlap_ks=(3, 10))
    members = [i for i in range(47) if i != 7]
    for k in (3, 10):
        shares = [
            len(set(ranking(points, i, members)[:k]) & set(ranking(teacher, i, members)[:k])) / k
            for i in members
        ]
        assert report.metrics[f"neighbour_overlap@{k}"] == pytest.approx(sum(shares) / 46, rel=1e-12)
    assert {"recall@1", "map@r"} <= set(report.metrics)


@pytest.mark.parametrize("labels", [None, [-1] * 20])
def test_without_labels_only_agreement_is_measured(labels: list[int] | None) -> None:
    points, _ = classes(20, 4, 3)
    report = metric_learning(points, labels, reference=3 * points)
    assert report.metrics == {"neighbour_overlap@10": 1.0}
    assert report.counts["queries"] == 20
    assert report.counts["classes"] == 0


def test_cut_offs_stop_at_the_gallery() -> None:
    points, _ = classes(5, 3, 4)
    report = metric_learning(points, [0, 0, 1, 1, 1], reference=points)
    assert list(report.metrics) == [
        *(f"recall@{k}" for k in (1, 2, 4)),
        "map@r",
        "r_precision",
        "neighbour_overlap@4",
    ]
    assert report.metrics["neighbour_overlap@4"] == 1.0


def test_numpy_torch_and_half_agree() -> None:
    points, labels = classes(30, 4, 5)
    points = points.half().float()
    want = metric_learning(points, labels).metrics
    frozen = points.numpy().copy()
    frozen.flags.writeable = False
    assert metric_learning(frozen, labels.numpy().astype(np.int32)).metrics == want
    assert metric_learning(points.half(), labels.tolist()).metrics == want
    assert metric_learning(points.requires_grad_(), labels).metrics == want


def test_the_distance_can_be_chosen() -> None:
    points = torch.tensor([[1.0, 0.0], [9.0, 0.5], [1.0, 0.9], [9.0, -6.0]])
    labels = [0, 0, 1, 1]
    assert metric_learning(points, labels, ks=(1,)).metrics["recall@1"] == 0.5
    report = metric_learning(points, labels, ks=(1,), metric="euclidean")
    assert report.metrics["recall@1"] == 0.0
    assert report.settings["metric"] == "euclidean"


def test_the_report_can_be_read_by_people_and_programs() -> None:
    points, labels = classes(30, 4, 6)
    report = metric_learning(points, labels, reference=points)
    read = json.loads(report.to_json())
    assert read["metrics"] == report.metrics
    cuts = {"ks": [1, 2, 4, 8], "overlap_ks": [10]}
    assert read["settings"] == cuts | {"metric": "cosine", "full": False, "clustering": False, "seed": 0}
    assert read["seconds"] >= 0
    assert "| neighbour_overlap@10 | 100.00 % |" in report.table().splitlines()
    assert f"| skipped | {report.counts['skipped']} |" in report.table().splitlines()


def test_nothing_to_measure_is_said_in_one_sentence() -> None:
    points, _ = classes(6, 3, 7)
    with pytest.raises(UserError, match="nothing to measure"):
        metric_learning(points, range(6))
    with pytest.raises(UserError, match="nothing to measure"):
        metric_learning(points)
    with pytest.raises(UserError, match="leave nothing to rank"):
        metric_learning(points[:1], reference=points[:1])


def test_a_diverged_model_is_named_as_such() -> None:
    points, labels = classes(9, 3, 8)
    points[[2, 5], 1] = torch.nan
    with pytest.raises(UserError, match=r"student embeddings are not finite in 2 of 9 rows \(2, 5\)"):
        metric_learning(points, labels)
    with pytest.raises(UserError, match="teacher embeddings are not finite"):
        metric_learning(torch.ones(9, 3), labels, reference=points)


def test_shapes_that_do_not_fit_are_refused() -> None:
    points, labels = classes(9, 3, 9)
    with pytest.raises(ValueError, match="9 whole numbers"):
        metric_learning(points, labels[:8])
    with pytest.raises(ValueError, match="one reference for each of 9"):
        metric_learning(points, labels, reference=points[:8])
    with pytest.raises(ValueError, match="student embeddings must be a floating-point"):
        metric_learning(labels, labels)
    with pytest.raises(ValueError, match="cut-offs"):
        metric_learning(points, [0] * 9, ks=())
