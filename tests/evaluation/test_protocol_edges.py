"""Galleries of which a query sees nothing, codes too large to tell apart, settings nobody can mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from understudy.errors import UserError
from understudy.evaluation import (
    metric_learning,
    multi_queries,
    reidentification,
    revisited,
    single_gallery_shot,
)
from understudy.evaluation.describe import Describing
from understudy.evaluation.lists import joined

EASY, HARD, JUNK = 1, 2, 3


def vectors(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(0))


def test_a_query_whose_junk_is_the_whole_gallery_does_not_stop_the_others() -> None:
    x = vectors()
    pairs = [0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 0, 1], [JUNK, JUNK, JUNK, JUNK, EASY, HARD]
    both = revisited(x[:2], x[2:], *pairs)
    alone = revisited(x[1:2], x[2:], [0, 0], [0, 1], [EASY, HARD])
    assert both.metrics == alone.metrics
    assert set(both.metrics) == {
        f"{level}/{name}"
        for level in ("easy", "medium", "hard")
        for name in ("trapezoidal_map", "mp@1", "mp@4")
    }
    assert both.counts["skipped easy"] == 1


def test_a_query_that_sees_nothing_does_not_stop_the_others() -> None:
    x = vectors(4)
    report = reidentification(x[:2], x[2:], [1, 1], [1, 1], [0, 1], [0, 0], ks=(1, 2))
    assert report.metrics == {"cmc@1": 1, "cmc@2": 1, "map": 1, "minp": 1}
    assert math.isnan(report.per_query["map"][0])
    assert report.counts["skipped"] == 1


def test_queries_are_skipped_where_there_is_nothing_but_a_teacher_too() -> None:
    x = vectors(5)
    report = metric_learning(x, [0, 1, 2, 3, 4], reference=x)
    assert report.metrics == {"neighbour_overlap@4": 1}
    assert report.counts["skipped"] == 5


def test_arrays_of_any_layout_are_taken() -> None:
    x, labels = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 0, 1, 1, 2, 2])
    want = metric_learning(np.ascontiguousarray(x[::-1, ::-1]), labels[::-1].copy()).metrics
    assert metric_learning(x[::-1, ::-1], labels[::-1]).metrics == want
    assert metric_learning(x.astype(">f8")[::-1, ::-1], labels.astype(">i4")[::-1]).metrics == want


def test_labels_that_are_no_numbers_are_refused_and_no_labels_are_none() -> None:
    x = vectors(2)
    with pytest.raises(
        ValueError, match=r"student labels must be 2 whole numbers, .* got <U1 of shape \(2,\)"
    ):
        metric_learning(x, ["a", "b"])  # type: ignore[list-item]
    with pytest.raises(UserError, match="there is nothing to measure"):
        metric_learning(x[:0], [])
    with pytest.raises(UserError, match="there is nothing to measure: no query has a label"):
        multi_queries([-1, -1], [0, 0], x, [0, 1], [0, 0])


def test_cameras_hide_rows_and_leave_cut_offs_alone() -> None:
    x = vectors()
    cameras = [0, 0, 0, 1]  # three of the query's own identity are hidden
    report = reidentification(
        x[:1], x[2:], [1], [1, 1, 1, 1], [0], cameras, ks=(1, 4), reference=(x[:1], x[2:])
    )
    assert set(report.metrics) == {"cmc@1", "cmc@4", "map", "minp", "neighbour_overlap@1"}


def test_codes_too_large_for_one_number_are_refused() -> None:
    x = vectors(3)
    with pytest.raises(ValueError, match=r"labels must be below 2\*\*32"):
        reidentification(x[:1], x[1:], [0], [2**33, 0], [0], [0, 1])
    largest = torch.tensor([2**32 - 1, 2**32 - 1, 0]), torch.tensor([2**31 - 1, 0, 2**31 - 1])
    assert len(set(joined(*largest).tolist())) == 3


def test_clusters_need_classes() -> None:
    x = vectors()
    with pytest.raises(UserError, match="no image has a label to compare clusters with"):
        metric_learning(x, reference=x, clustering=True)


def test_what_is_drawn_can_be_drawn_again_from_the_report() -> None:
    x = vectors()
    labels = [0, 0, 1, 1, 2, 2]
    report = metric_learning(x, labels, clustering=True, full=True, seed=5)
    assert {"seed": 5, "clustering": True, "full": True}.items() <= report.settings.items()
    shot = single_gallery_shot(x[:2], x[2:], [0, 1], [0, 1, 0, 1], [0, 0], [1, 1, 1, 1], draws=2, seed=7)
    assert {"seed": 7, "draws": 2}.items() <= shot.settings.items()
    for seed in (-1, 2**63):
        with pytest.raises(ValueError, match="seeds are whole numbers from 0"):
            metric_learning(x, labels, seed=seed)


def test_a_scale_that_leaves_no_pixel_is_refused() -> None:
    with pytest.raises(UserError, match="does not take inputs of 0×0"):
        Describing(scales=(0.01,)).check(lambda x: x.flatten(1), torch.zeros(1, 1, 16, 16), "any")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vectors_too_large_to_be_squared_are_a_user_s_mistake(dtype: torch.dtype) -> None:
    x = vectors().to(dtype)
    x[4] = 1e25
    with pytest.raises(UserError, match=r"too large in 1 of 6 rows \(4\): the model that made them"):
        metric_learning(x, [0, 0, 1, 1, 2, 2])
    assert metric_learning(x.double(), [0, 0, 1, 1, 2, 2]).counts["queries"] == 6
    x[4] = torch.inf
    with pytest.raises(UserError, match="not finite in 1 of 6 rows"):
        metric_learning(x, [0, 0, 1, 1, 2, 2])
