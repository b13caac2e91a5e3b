"""What will be measured, foretold, against what the evaluation measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.data import Manifest
from understudy.errors import UserError
from understudy.evaluation import metric_learning
from understudy.training.figures import measurable


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
    manifest = Manifest.of_paths(
        ".", [f"{n}.png" for n in range(len(labels))], labels=[label.replace(".", "") for label in labels]
    )
    rows = np.arange(len(labels))
    points = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0))
    try:
        report = metric_learning(points, manifest.label_codes(), reference=points if with_teacher else None)
    except UserError:
        with pytest.raises(UserError, match=r"'test', on which the run is to be measured"):
            measurable(manifest, rows, "test", with_teacher=with_teacher)
        return
    assert measurable(manifest, rows, "test", with_teacher=with_teacher) == tuple(report.metrics)


def test_an_empty_split_is_named() -> None:
    manifest = Manifest.of_paths(".", ["1.png"])
    with pytest.raises(UserError, match=r"the split 'val', .*, has no images: set data.val_fraction"):
        measurable(manifest, np.arange(0), "val", with_teacher=True)
