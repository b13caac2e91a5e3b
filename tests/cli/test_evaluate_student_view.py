"""Evaluation of a model that sees worse images than the gallery's model and the teacher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import understudy
from understudy.data import open_dataset
from understudy.data.degradation import Degradation
from understudy.data.degrade import Degrader
from understudy.evaluation import Describing, embed_pixels, metric_learning

VIEW = {"scale": 0.25, "jpeg": [10, 30]}


@pytest.fixture
def model(taught: Path) -> Path:
    return taught / "teacher" / "model"


def evaluated(model: Path, taught: Path, **more: Any) -> dict[str, float]:
    report = understudy.evaluate(str(model), taught / "images", device="cpu", confidence=None, **more)
    return dict(report.metrics)


def test_the_model_s_images_are_made_worse(model: Path, taught: Path) -> None:
    good = evaluated(model, taught)
    worse = evaluated(model, taught, student_view=VIEW, seed=3)
    assert worse != good
    loaded = understudy.load(model)
    dataset = open_dataset(str(taught / "images"))
    pre = loaded.preprocessing
    pixels = dataset.pixels(resize=pre.resize, mode=pre.mode, channels=1, interpolation=pre.interpolation)
    looking = Describing(sees=Degrader(Degradation.model_validate(VIEW), 3))
    vectors = embed_pixels(loaded, pixels, describing=looking)
    labels = dataset.manifest.label_codes()[pixels.rows.numpy()]
    assert worse == pytest.approx(metric_learning(vectors, torch.from_numpy(labels)).metrics)


def test_the_gallery_and_the_teacher_see_good_ones(model: Path, taught: Path) -> None:
    agreed = evaluated(model, taught, teacher=str(model), student_view=VIEW)
    assert agreed["neighbour_overlap@10"] < 1
    assert evaluated(model, taught, teacher=str(model))["neighbour_overlap@10"] == 1
    across = evaluated(model, taught, gallery=str(model), student_view=VIEW)
    same = evaluated(model, taught, student_view=VIEW)
    assert across["recall@1"] != same["recall@1"]


def test_it_is_typed_as_settings_and_kept_in_the_report(
    command: Callable[..., Any], model: Path, taught: Path
) -> None:
    words = ("evaluate", model, taught / "images", "--device", "cpu", "--confidence", 0, "--json")
    done = command(*words, "--student-view", "scale=0.25,jpeg=10:30")
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["settings"]["student_view"]["scale"] == [0.25, 0.25]
    assert report["metrics"] == pytest.approx(evaluated(model, taught, student_view=VIEW))
    assert json.loads(command(*words).out)["settings"]["student_view"] is None


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("scale", "'scale' is no setting of a student's view: write for example scale=0.25"),
        ("scale=small", "write for example scale=0.25,jpeg=10:30"),
        ("jpg=20", "did you mean 'jpeg'?"),
        ("scale=2", "a student's view: scale = 2.0 does not fit"),
        ("blur=3:1", "blur goes from 3.0 down to 1.0"),
    ],
)
def test_mistakes_are_one_sentence(
    refused: Callable[..., str], model: Path, taught: Path, typed: str, sentence: str
) -> None:
    assert sentence in refused("evaluate", model, taught / "images", "--student-view", typed)
