"""What will be measured, foretold, against what the evaluation measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from understudy.data import Dataset, Manifest
from understudy.errors import UserError
from understudy.evaluation import metric_learning
from understudy.evaluation.rows import Vectors
from understudy.training.figures import measurable
from understudy.training.protocols import parts_of, report_of


def dataset(labels: str, **columns: Any) -> Dataset:
    names = [f"{n}.png" for n in range(len(labels))]
    given = ["" if label == "." else label for label in labels]
    return Dataset("drawn", Manifest.of_paths(".", names, labels=given, **columns))


@pytest.mark.parametrize("with_teacher", [True, False])
@pytest.mark.parametrize(
    "labels",
    [
        "aab",
        "ab",
        "a",
        "aa",
        ".",
        "..",
        "a.",
        "aa.",
        "ab..",
        "..........",
        "aabbccddeeffgg",
        "abcdefghijkl",
        "a" * 20,
    ],
)
def test_the_figures_are_those_of_the_evaluation(labels: str, with_teacher: bool) -> None:
    parts = parts_of(dataset(labels, splits=["test"] * len(labels)), "test")
    points = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    codes = parts[0].plan.manifest.label_codes()
    try:
        report = metric_learning(points, codes, reference=points if with_teacher else None)
    except UserError:
        with pytest.raises(UserError, match=r"'test', on which the run is to be measured"):
            measurable(parts, "test", with_teacher=with_teacher)
        return
    assert measurable(parts, "test", with_teacher=with_teacher) == (tuple(report.metrics),)


@pytest.mark.parametrize("with_teacher", [True, False])
@pytest.mark.parametrize(
    ("query", "gallery", "multi", "cameras"),
    [
        ("abc", "abcabcdddddddd", "", True),
        ("abc", "abcabcdddddddd", "aabbcc", True),
        ("abc", "aab.", "abc", True),
        ("a", "a" * 30, "a", True),
        (".a", "a.bcdefghijklm", "", True),
        ("ab", "ab", "", False),
        (".", "..", "", False),
        ("a", "b", "", False),
        ("a", "bcdefghijklmno", "a", True),
    ],
)
def test_those_of_queries_in_a_gallery_too(
    query: str, gallery: str, multi: str, cameras: bool, with_teacher: bool
) -> None:
    labels = query + gallery + multi
    splits = ["query"] * len(query) + ["gallery"] * len(gallery) + ["multi_query"] * len(multi)
    seen = ["1"] * len(query) + ["12"[n % 2] for n in range(len(gallery))] + ["1"] * len(multi)
    columns = {"splits": splits, "cameras": seen} if cameras else {"splits": splits}
    parts = parts_of(dataset(labels, **columns), "gallery")
    points = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    vectors = Vectors(np.arange(len(labels)), points)
    try:
        report = report_of(parts, vectors, vectors if with_teacher else None)
    except UserError:
        with pytest.raises(UserError, match=r"'gallery', on which the run is to be measured"):
            measurable(parts, "gallery", with_teacher=with_teacher)
        return
    named = measurable(parts, "gallery", with_teacher=with_teacher)
    assert [name for names in named for name in names] == list(report.metrics)


def test_an_empty_split_is_named() -> None:
    parts = parts_of(dataset("."), "val")
    with pytest.raises(UserError, match=r"the split 'val', .*, has no images: set data.val_fraction"):
        measurable(parts, "val", with_teacher=True)
