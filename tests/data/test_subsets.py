"""Validation classes and partly labelled training sets."""

from __future__ import annotations

import pytest

from understudy.data.manifest import Manifest
from understudy.data.subsets import label_fraction, split_classes
from understudy.errors import UserError


def make(classes: int = 40, unlabelled: int = 10) -> Manifest:
    labels = (
        [f"c{code:02}" for code in range(classes) for _ in range(3)] + [""] * unlabelled + ["c00", "t1", "t2"]
    )
    splits = ["train"] * (classes * 3 + unlabelled) + ["val", "test", ""]
    return Manifest.of_paths(".", [f"{row}.png" for row in range(len(labels))], labels=labels, splits=splits)


def classes_of(manifest: Manifest, split: str) -> set[str]:
    return {manifest.labels[row] for row in manifest.rows(split)} - {""}


def test_validation_classes_are_disjoint_and_whole() -> None:
    manifest = make()
    divided = split_classes(manifest, 0.25, seed=1)
    moved = {manifest.labels[row] for row in range(120) if divided.splits[row] == "val"}
    assert len(moved) == 10
    assert not moved & classes_of(divided, "train")
    assert len(classes_of(divided, "train")) == 30
    for row in range(120):
        assert (divided.splits[row] == "val") == (divided.labels[row] in moved)
    assert divided.splits[120:] == manifest.splits[120:]  # unlabelled images and other splits stay
    assert divided.labels == manifest.labels
    assert split_classes(manifest, 0.25, seed=1) == divided
    assert split_classes(manifest, 0.25, seed=2) != divided


def test_without_labels_images_are_divided() -> None:
    manifest = Manifest.of_paths(".", [f"{row}.png" for row in range(50)])
    divided = split_classes(manifest, 0.1, seed=0)
    assert divided.splits.count("val") == 5
    assert divided.splits.count("train") == 45


def test_one_class_at_least_goes_and_one_stays() -> None:
    manifest = make(3, 0)
    assert len(classes_of(split_classes(manifest, 0.01, seed=0), "train")) == 2
    assert len(classes_of(split_classes(manifest, 0.99, seed=0), "train")) == 1
    with pytest.raises(
        UserError, match="there is 1 labelled class to train on: a validation split needs at least two"
    ):
        split_classes(make(1, 0), 0.5, seed=0)
    for fraction in (0, 1, -0.1, 1.5):
        with pytest.raises(UserError, match="is not between 0 and 1"):
            split_classes(manifest, fraction, seed=0)


def test_a_fraction_of_the_classes_keeps_its_labels() -> None:
    manifest = make()
    partly = label_fraction(manifest, 0.05, seed=3)
    kept = classes_of(partly, "train")
    assert len(kept) == 2
    for row in range(120):
        assert partly.labels[row] == (manifest.labels[row] if manifest.labels[row] in kept else "")
    assert partly.labels[120:] == manifest.labels[120:]  # val and test keep theirs
    assert partly.splits == manifest.splits
    assert label_fraction(manifest, 0.05, seed=3) == partly
    assert label_fraction(manifest, 0.05, seed=4) != partly
    assert kept < classes_of(label_fraction(manifest, 0.5, seed=3), "train")


def test_all_or_none_of_the_labels() -> None:
    manifest = make()
    assert label_fraction(manifest, 1, seed=0) == manifest
    assert not classes_of(label_fraction(manifest, 0, seed=0), "train")
    assert len(classes_of(label_fraction(manifest, 0.001, seed=0), "train")) == 1
    with pytest.raises(
        UserError, match=r"the labelled fraction 5 is not between 0 and 1: 0.05 keeps a twentieth"
    ):
        label_fraction(manifest, 5, seed=0)


def test_the_two_choices_are_independent() -> None:
    manifest = make(400, 0)
    moved = classes_of(split_classes(manifest, 0.5, seed=0), "val") - {"c00"}
    kept = classes_of(label_fraction(manifest, 0.5, seed=0), "train")
    assert 70 < len(moved & kept) < 130
