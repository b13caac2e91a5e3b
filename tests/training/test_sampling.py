from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from understudy.config import SamplerConfig, parse
from understudy.data import Manifest
from understudy.data.samplers import (
    ClassBalanced,
    CrossCameraPairs,
    EveryClassOnce,
    Mixed,
    RandomPairs,
    Sampler,
    Unlabelled,
)
from understudy.errors import UserError
from understudy.training.sampling import build_sampler


def manifest(labels: str, cameras: str | None = None) -> Manifest:
    """One letter an image; a dot for no label."""
    return Manifest.of_paths(
        ".",
        [f"{number}.png" for number in range(len(labels))],
        labels=[label.replace(".", "") for label in labels],
        cameras=None if cameras is None else list(cameras),
    )


def build(labels: str, *, cameras: str | None = None, uses_labels: bool = True, **value: Any) -> Sampler:
    config: SamplerConfig = parse(SamplerConfig, value, where="sampler")
    return build_sampler(
        config, manifest(labels, cameras), np.arange(len(labels)), seed=0, uses_labels=uses_labels
    )


@pytest.mark.parametrize(
    ("labels", "value", "kind"),
    [
        ("aabbcc", {"images_per_class": 2}, ClassBalanced),
        ("......", {}, Unlabelled),
        ("aabb..", {"images_per_class": 2, "batch_size": 8}, Mixed),
        ("aabbcc", {"uses_labels": False}, Unlabelled),
        ("aabb..", {"uses_labels": False}, Unlabelled),
        ("aabbcc", {"kind": "unlabelled"}, Unlabelled),
        ("aabbcc", {"kind": "random_pairs"}, RandomPairs),
        ("aabbcc", {"kind": "every_class_once", "images_per_class": 2}, EveryClassOnce),
        ("aabbcc", {"kind": "cross_camera_pairs", "cameras": "121212"}, CrossCameraPairs),
    ],
)
def test_the_kind_that_was_asked_for_or_suits(
    labels: str, value: dict[str, Any], kind: type[Sampler]
) -> None:
    assert type(build(labels, **value)) is kind


def test_batches_are_as_large_as_the_classes_allow() -> None:
    small = build("aabbccd", images_per_class=2)
    assert small.batch_size == 6  # d has one image
    assert set(small.plan(0).ravel().tolist()) == set(range(6))
    assert build("aabbccd", images_per_class=2, batch_size=4).batch_size == 4
    assert build("abc", images_per_class=1).batch_size == 3
    assert build(".....", batch_size=3).batch_size == 3
    alone = build(".....")
    assert sorted(alone.plan(0).ravel().tolist()) == list(range(5))


def test_a_mixed_batch_has_labelled_classes_first_and_any_image_after() -> None:
    labels = "aaabbbccc" + "." * 30
    sampler = build(labels, images_per_class=2, batch_size=12, labelled=0.5)
    plan = sampler.plan(0)
    assert sampler.batch_size == 12
    assert plan[:, :6].max() < 9
    assert set(plan[:, 6:].ravel().tolist()) == set(range(39))


@pytest.mark.parametrize(
    ("labels", "value", "sentence"),
    [
        ("aabb", {"images_per_class": 3}, "is not a multiple of sampler.images_per_class 3"),
        ("aabb", {"images_per_class": 4}, r"images_per_class is 4 but the largest class has 2 image"),
        ("abcd", {}, "no class has two training images"),
        ("abcd", {"kind": "random_pairs"}, "no class has two images, so there are no pairs"),
        ("aabb", {"kind": "random_pairs", "batch_size": 5}, "not a whole number of pairs"),
        ("....", {"kind": "class_balanced"}, "the sampler 'class_balanced' needs labels"),
        ("aabb", {"kind": "cross_camera_pairs"}, "needs a `camera` column"),
        ("aabb", {"kind": "cross_camera_pairs", "cameras": "1111"}, "no class was seen by two cameras"),
        ("aabb..", {"labelled": 0.0}, "leaves 0 labelled of 128 images"),
        ("aabb..", {"labelled": 1.0, "images_per_class": 2}, "leaves 128 labelled of 128"),
    ],
)
def test_batches_that_cannot_be_are_one_sentence(labels: str, value: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        build(labels, **value)
    assert "\n" not in str(caught.value)
