"""Cars196 in its two layouts, on small trees made in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from understudy.data.layouts.cars import PUBLISHED, read, recognises
from understudy.errors import UserError

EXPECTED = {"training images": 3, "training classes": 2, "test images": 2, "test classes": 2}
# number, class, box; the classes of metric learning are divided between 98 and 99
CARS = [
    (1, 1, (1, 1, 4, 4)),
    (2, 98, (2, 3, 8, 6)),
    (3, 98, (1, 1, 9, 9)),
    (4, 99, (1, 1, 2, 2)),
    (5, 196, (1, 1, 2, 2)),
]
FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class")


def annotate(file: Path, name: str, rows: list[tuple[str, int, tuple[int, int, int, int]]]) -> None:
    structs = np.empty((1, len(rows)), dtype=[(field, object) for field in (name, *FIELDS)])
    for place, (path, label, box) in enumerate(rows):
        structs[0, place] = (path, *box, label)
    file.parent.mkdir(parents=True, exist_ok=True)
    savemat(file, {"annotations": structs, "class_names": np.array(["AM General Hummer"], dtype=object)})


def draw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path)


def one_list(root: Path) -> Path:
    for number, _, _ in CARS:
        draw(root / f"car_ims/{number:06}.jpg")
    rows = [(f"car_ims/{number:06}.jpg", label, box) for number, label, box in CARS]
    annotate(root / "cars_annos.mat", "relative_im_path", rows)
    return root


def devkit(root: Path) -> Path:
    halves = (
        ("cars_train", CARS[::2], "cars_train_annos"),
        ("cars_test", CARS[1::2], "cars_test_annos_withlabels"),
    )
    for folder, some, name in halves:
        rows = []
        for place, (_, label, box) in enumerate(some, start=1):
            draw(root / folder / f"{place:05}.jpg")
            rows.append((f"{place:05}.jpg", label, box))
        annotate(root / "devkit" / f"{name}.mat", "fname", rows)
    return root


@pytest.fixture(params=[one_list, devkit])
def tree(request: Any, tmp_path: Path) -> Path:
    make: Callable[[Path], Path] = request.param
    return make(tmp_path)


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [8_054, 98, 8_131, 98]
    assert 8_054 + 8_131 == 16_185


def test_both_layouts_divide_by_class(tree: Path) -> None:
    assert recognises(tree)
    prepared = read(tree, expected=EXPECTED)
    manifest = prepared.manifest
    assert prepared.notes == []
    assert sorted(zip(manifest.labels, manifest.splits, strict=True)) == [
        ("001", "train"),
        ("098", "train"),
        ("098", "train"),
        ("099", "test"),
        ("196", "test"),
    ]
    assert all(manifest.path(row).is_file() for row in range(5))


def test_boxes_where_they_are_asked_for(tree: Path) -> None:
    prepared = read(tree, boxes=True, expected=EXPECTED)
    assert prepared.manifest.boxes is not None
    found = {tuple(box) for box in prepared.manifest.boxes.tolist()}
    assert found == {(0, 0, 4, 4), (1, 2, 8, 6), (0, 0, 8, 8), (0, 0, 2, 2)}  # corners counted from 1
    assert prepared.notes == ["1 boxes reached beyond their images and were cut to them"]


def test_what_is_missing_is_counted_and_named(tree: Path) -> None:
    manifest = read(tree, expected=EXPECTED).manifest
    row = manifest.labels.index("196")
    manifest.path(row).unlink()
    words = rf"1 of 2 test images \(1 missing\); 1 of 2 test classes .* not there: '{manifest.paths[row]}'"
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    assert len(read(tree, partial=True, expected=EXPECTED).manifest) == 4


def test_the_labels_of_the_test_images_may_lie_beside_the_devkit(tmp_path: Path) -> None:
    devkit(tmp_path)
    name = "cars_test_annos_withlabels.mat"
    (tmp_path / "devkit" / name).rename(tmp_path / name)
    assert len(read(tmp_path, expected=EXPECTED).manifest) == 5
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=r"devkit/cars_test_annos_withlabels.mat' is missing"):
        read(tmp_path, expected=EXPECTED)


def test_of_both_lists_the_one_whose_images_are_there_is_read(tmp_path: Path) -> None:
    annotate(tmp_path / "cars_annos.mat", "relative_im_path", [("car_ims/000001.jpg", 1, (1, 1, 4, 4))])
    assert read(devkit(tmp_path), expected=EXPECTED).manifest.paths[0] == "cars_train/00001.jpg"


def test_broken_lists(tmp_path: Path) -> None:
    one_list(tmp_path)
    file = tmp_path / "cars_annos.mat"
    rows = [("car_ims/000001.jpg", label, box) for _, label, box in CARS]
    annotate(file, "relative_im_path", rows)
    with pytest.raises(UserError, match=r"'car_ims/000001.jpg' is annotated twice"):
        read(tmp_path, expected=EXPECTED)
    annotate(file, "fname", rows[:1])
    with pytest.raises(UserError, match=r"cars_annos.mat': 'annotations' has no field 'relative_im_path'"):
        read(tmp_path, expected=EXPECTED)
    savemat(file, {"other": 1})
    with pytest.raises(UserError, match=r"cars_annos.mat' has no variable 'annotations'"):
        read(tmp_path, expected=EXPECTED)
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError, match=r"cars_annos.mat' is not a MATLAB file that can be read"):
        read(tmp_path, expected=EXPECTED)
    file.unlink()
    with pytest.raises(UserError, match=r"has no 'devkit/cars_train_annos.mat': pass the folder .* Cars196"):
        read(tmp_path, expected=EXPECTED)
