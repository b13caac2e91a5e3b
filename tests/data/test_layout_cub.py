"""CUB-200-2011's layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from understudy.data.dataset import open_dataset
from understudy.data.layouts.cub import PUBLISHED, read, recognises
from understudy.errors import UserError

EXPECTED = {"training images": 4, "training classes": 2, "test images": 3, "test classes": 2}
IMAGES = [
    (1, "001.Black_footed_Albatross/Albatross_0046.jpg", 1, "2.0 1.0 5.0 6.0"),
    (2, "001.Black_footed_Albatross/Albatross_0009.jpg", 1, "0.0 0.0 12.0 8.0"),
    (3, "100.Brown_Pelican/Pelican_0001.jpg", 100, "1.5 1.5 2.0 2.0"),
    (4, "100.Brown_Pelican/Pelican_0002.jpg", 100, "3.0 3.0 4.0 4.0"),
    (5, "101.White_Pelican/Pelican_0001.jpg", 101, "3.0 3.0 9.0 9.0"),
    (6, "101.White_Pelican/Pelican_0003.jpg", 101, "3.0 3.0 4.0 4.0"),
    (7, "200.Common_Yellowthroat/Throat_0004.jpg", 200, "3.0 3.0 4.0 4.0"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "CUB_200_2011"
    for _, name, _, _ in IMAGES:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (12, 8)).save(root / "images" / name)
    (root / "images.txt").write_text("".join(f"{image} {name}\n" for image, name, _, _ in IMAGES))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {label}\n" for i, _, label, _ in IMAGES))
    (root / "bounding_boxes.txt").write_text("".join(f"{image} {box}\n" for image, _, _, box in IMAGES))
    (root / "train_test_split.txt").write_text("".join(f"{image} 1\n" for image, _, _, _ in IMAGES))
    return root


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [5_864, 100, 5_924, 100]
    assert 5_864 + 5_924 == 11_788


def test_the_first_hundred_classes_train_and_the_others_test(tree: Path) -> None:
    assert recognises(tree)
    prepared = read(tree.parent, expected=EXPECTED)  # the folder above will do
    manifest = prepared.manifest
    assert prepared.notes == []
    assert manifest.splits == ("train",) * 4 + ("test",) * 3
    assert manifest.labels[3] == "100.Brown_Pelican"
    assert manifest.labels[4] == "101.White_Pelican"
    assert manifest.boxes is None
    assert manifest.path(6) == tree / "images/200.Common_Yellowthroat/Throat_0004.jpg"
    assert manifest.path(6).is_file()


def test_boxes_where_they_are_asked_for(tree: Path) -> None:
    prepared = read(tree, boxes=True, expected=EXPECTED)
    assert prepared.manifest.boxes is not None
    # x, y, width, height became corners, rounded outwards; the fifth reaches below its image of 12 × 8
    assert prepared.manifest.boxes[[0, 2, 4]].tolist() == [[2, 1, 7, 7], [1, 1, 4, 4], [3, 3, 12, 8]]
    assert prepared.notes == ["1 boxes reached beyond their images and were cut to them"]
    prepared.save(tree / "m.csv")
    assert open_dataset(tree / "m.csv").image(0).size == (5, 6)
    edit(tree / "bounding_boxes.txt", "7 3.0 3.0 4.0 4.0\n", "")
    with pytest.raises(UserError, match=r"bounding_boxes.txt' has no box for the image 7: unpack"):
        read(tree, boxes=True, expected=EXPECTED)
    edit(tree / "bounding_boxes.txt", "6 3.0", "6 wide")
    (tree / "bounding_boxes.txt").open("a").write("7 1 1 1 1\n")
    with pytest.raises(UserError, match=r"bounding_boxes.txt' holds something that is not a number"):
        read(tree, boxes=True, expected=EXPECTED)
    (tree / "bounding_boxes.txt").unlink()
    with pytest.raises(UserError, match=r"bounding_boxes.txt' is missing"):
        read(tree, boxes=True, expected=EXPECTED)


def test_what_is_missing_is_counted_and_named(tree: Path) -> None:
    (tree / "images" / IMAGES[0][1]).unlink()
    for image in (4, 5):
        (tree / "images" / IMAGES[image][1]).unlink()
    words = (
        r"CUB_200_2011' is not the whole data set: 3 of 4 training images \(1 missing\); 1 of 3 test images "
        r"\(2 missing\); 1 of 2 test classes \(1 missing\); 3 listed and not there: "
        r"'images/001.Black_footed_Albatross/Albatross_0046.jpg', 'images/101"
    )
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    prepared = read(tree, partial=True, expected=EXPECTED)
    assert len(prepared.manifest) == 4
    assert all(prepared.manifest.path(row).is_file() for row in range(4))
    assert len(prepared.notes) == 1


def test_a_short_list_is_not_taken_for_the_whole(tree: Path) -> None:
    edit(tree / "images.txt", f"7 {IMAGES[6][1]}\n", "")
    with pytest.raises(UserError, match=r"2 of 3 test images \(1 missing\); 1 of 2 test classes"):
        read(tree, expected=EXPECTED)


def test_lists_that_contradict_each_other(tree: Path) -> None:
    edit(tree / "image_class_labels.txt", "4 100\n", "4 101\n")
    words = r"gives '100.Brown_Pelican/Pelican_0002.jpg' the class 101, which is '101.White|the class 101"
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    edit(tree / "image_class_labels.txt", "4 101\n", "")
    with pytest.raises(UserError, match=r"has no class for the image 4 \('100.Brown_Pelican/Pelican_0002"):
        read(tree, expected=EXPECTED)
    (tree / "image_class_labels.txt").unlink()
    with pytest.raises(UserError, match=r"has no 'image_class_labels.txt': pass the folder that the archive"):
        read(tree, expected=EXPECTED)


def test_another_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jpg").mkdir()
    with pytest.raises(UserError, match=r"has no 'images.txt': pass the folder that the archive of CUB-200"):
        read(tmp_path)
    assert not recognises(tmp_path)


def test_a_subset_is_divided_where_one_says(tree: Path) -> None:
    """Public subsets count classes from zero and put commas between the columns."""
    for file in ("images.txt", "image_class_labels.txt"):
        (tree / file).write_text((tree / file).read_text().replace(" ", ", "))
    prepared = read(tree, last_training_class=1, expected=EXPECTED)
    assert prepared.manifest.splits == ("train",) * 2 + ("test",) * 5
    assert prepared.notes == []  # the parts are not the published ones, and all images are there
    (tree / "images" / IMAGES[0][1]).unlink()
    with pytest.raises(
        UserError, match=r"whole data set: 6 of 7 images \(1 missing\); 1 listed and not there"
    ):
        read(tree, last_training_class=1, expected=EXPECTED)


def test_opening_the_folder_itself(tree: Path) -> None:
    words = (
        r"4 of 5,864 training images .* by `understudy prepare cub .*200_2011 --partial -o cub.parquet` and"
    )
    with pytest.raises(UserError, match=words):
        open_dataset(tree)
