"""Stanford Online Products' layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.data.layouts.sop import PUBLISHED, read, recognises
from understudy.errors import UserError

EXPECTED = {"training images": 3, "training classes": 2, "test images": 3, "test classes": 2}
HEADER = "image_id class_id super_class_id path\n"
TRAIN = "1 1 1 bicycle_final/1_0.JPG\n2 1 1 bicycle_final/1_1.JPG\n3 2 2 chair_final/2_0.JPG\n"
TEST = "4 3 1 bicycle_final/3_0.JPG\n5 3 1 bicycle_final/3_1.JPG\n6 4 12 toaster_final/4_0.JPG\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for line in (TRAIN + TEST).splitlines():
        path = tmp_path / line.split()[-1]
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "Ebay_train.txt").write_text(HEADER + TRAIN)
    (tmp_path / "Ebay_test.txt").write_text(HEADER + TEST)
    return tmp_path


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [59_551, 11_318, 60_502, 11_316]


def test_the_official_lists_divide_the_images(tree: Path) -> None:
    assert recognises(tree)
    prepared = read(tree, expected=EXPECTED)
    manifest = prepared.manifest
    assert prepared.notes == []
    assert manifest.splits == ("train",) * 3 + ("test",) * 3
    assert manifest.labels == ("1", "1", "2", "3", "3", "4")
    assert manifest.paths[5] == "toaster_final/4_0.JPG"


def test_what_is_missing_is_counted_and_named(tree: Path) -> None:
    (tree / "toaster_final/4_0.JPG").unlink()
    words = (
        r"2 of 3 test images \(1 missing\); 1 of 2 test classes \(1 missing\); "
        "1 listed and not there: 'toaster_final/4_0.JPG': unpack"
    )
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    assert len(read(tree, partial=True, expected=EXPECTED).manifest) == 5
    (tree / "Ebay_test.txt").unlink()
    with pytest.raises(
        UserError, match=r"has no 'Ebay_test.txt': pass the folder that the archive of Stanford"
    ):
        read(tree, partial=True, expected=EXPECTED)


def test_broken_lists(tree: Path) -> None:
    (tree / "Ebay_test.txt").write_text(HEADER + TEST.replace("4 3 1", "4 2 1"))
    with pytest.raises(UserError, match="the class 2 is in both lists of"):
        read(tree, expected=EXPECTED)
    (tree / "Ebay_test.txt").write_text(HEADER + TEST + "7 3 1 bicycle_final/3_1.JPG\n")
    words = r"Ebay_test.txt', line 5: the path 'bicycle_final/3_1.JPG' is there already in line 3"
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    (tree / "Ebay_test.txt").write_text(HEADER + "4 3 bicycle_final/3_0.JPG\n")
    words = r"line 2: 3 values and not 4 \(image id, class id, super class id, path\)"
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
