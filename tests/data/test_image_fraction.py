"""Smaller training sets, chosen without a look at labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.config import DataConfig
from understudy.data.manifest import Manifest
from understudy.data.subsets import image_fraction
from understudy.errors import UserError
from understudy.training.workshop import Workshop


def make(images: int = 200, labels: list[str] | None = None) -> Manifest:
    splits = ["train"] * images + ["val", "test", ""]
    labels = labels or [f"c{row % 20}" for row in range(images)]
    return Manifest.of_paths(
        ".", [f"{row}.png" for row in range(images + 3)], labels=[*labels, "v", "t", "n"], splits=splits
    )


def test_a_share_of_the_images_stays_and_a_smaller_share_lies_inside_a_larger_one() -> None:
    manifest = make()
    kept = {
        fraction: set(image_fraction(manifest, fraction, seed=4).rows("train").tolist())
        for fraction in (0.01, 0.05, 0.1, 0.25, 1.0)
    }
    assert [len(rows) for rows in kept.values()] == [2, 10, 20, 50, 200]
    for smaller, larger in zip((0.01, 0.05, 0.1, 0.25), (0.05, 0.1, 0.25, 1.0), strict=True):
        assert kept[smaller] < kept[larger]
    assert set(image_fraction(manifest, 0.1, seed=5).rows("train").tolist()) != kept[0.1]


def test_everything_else_stays_as_it_is() -> None:
    manifest = make()
    smaller = image_fraction(manifest, 0.1, seed=0)
    assert smaller.labels == manifest.labels
    assert smaller.splits[200:] == manifest.splits[200:]
    assert image_fraction(manifest, 1.0, seed=0) is manifest


def test_labels_do_not_matter() -> None:
    plain = image_fraction(make(labels=[""] * 200), 0.1, seed=3)
    labelled = image_fraction(make(), 0.1, seed=3)
    assert np.array_equal(plain.rows("train"), labelled.rows("train"))


@pytest.mark.parametrize(("fraction", "most", "count"), [(0.5, 30, 30), (0.1, 30, 20), (1.0, 500, 200)])
def test_most_is_a_limit(fraction: float, most: int, count: int) -> None:
    limited = image_fraction(make(), fraction, seed=0, most=most)
    assert len(limited.rows("train")) == count
    whole = image_fraction(make(), fraction, seed=0)
    assert set(limited.rows("train")) <= set(whole.rows("train"))


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(UserError, match=r"fraction 0 of the images .* 0\.05 keeps a twentieth"):
        image_fraction(make(), 0, seed=0)
    with pytest.raises(UserError, match="use at least 2"):
        image_fraction(make(), 1.0, seed=0, most=1)


def splits_of(workshop: Workshop, **data: object) -> dict[str, set[int]]:
    manifest = workshop.dataset(DataConfig.model_validate(data)).manifest
    return {split: set(manifest.rows(split).tolist()) for split in ("train", "val")}


def test_validation_stays_whole_however_few_images_train(folder: Path) -> None:
    workshop = Workshop()
    whole = splits_of(workshop, source=str(folder))
    few = splits_of(workshop, source=str(folder), fraction=0.25)
    assert few["val"] == whole["val"]
    assert few["train"] < whole["train"]
    assert len(few["train"]) == round(0.25 * len(whole["train"]))
    assert splits_of(workshop, source=str(folder), queries=5)["val"] == whole["val"]
    assert len(splits_of(workshop, source=str(folder), queries=5)["train"]) == 5


def test_the_choice_has_a_seed_of_its_own(folder: Path) -> None:
    workshop = Workshop()
    usual = splits_of(workshop, source=str(folder), fraction=0.25)
    same = splits_of(workshop, source=str(folder), fraction=0.25, fraction_seed=0)
    other = splits_of(workshop, source=str(folder), fraction=0.25, fraction_seed=1)
    assert same == usual
    assert other["val"] == usual["val"]
    assert other["train"] != usual["train"]


def test_unlabelled_validation_images_count_among_the_questions(folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, image in enumerate(sorted(folder.rglob("*.png"))):
        (flat / f"{number}.png").write_bytes(image.read_bytes())
    splits = splits_of(Workshop(), source=str(flat), queries=20)
    assert (len(splits["train"]), len(splits["val"])) == (16, 4)
