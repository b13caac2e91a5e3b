"""In-Shop Clothes Retrieval's layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from understudy.data.layouts.inshop import PUBLISHED, read, recognises
from understudy.errors import UserError

EXPECTED = {
    "train images": 2,
    "train items": 1,
    "query images": 1,
    "query items": 1,
    "gallery images": 2,
    "gallery items": 1,
}
ROWS = [
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train", "1 1 6 8"),
    ("img/WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train", "2 3 7 8"),
    ("img/MEN/Denim/id_00000080/01_1_front.jpg", "id_00000080", "query", "1 1 2 2"),
    ("img/MEN/Denim/id_00000080/01_2_side.jpg", "id_00000080", "gallery", "1 1 2 2"),
    ("img/MEN/Denim/id_00000080/01_3_back.jpg", "id_00000080", "gallery", "1 1 2 2"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, _, _, _ in ROWS:
        path = tmp_path / "Img" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(path)
    write(tmp_path / "Eval/list_eval_partition.txt", [f"{n}   {item} {split}" for n, item, split, _ in ROWS])
    write(tmp_path / "Anno/list_bbox_inshop.txt", [f"{name} 3 1 {box}" for name, _, _, box in ROWS])
    return tmp_path


def write(file: Path, lines: list[str], promised: int | None = None) -> None:
    file.parent.mkdir(exist_ok=True)
    count = len(lines) if promised is None else promised
    file.write_text("\n".join([str(count), "names of the columns", *lines]) + "\n")


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [25_882, 3_997, 14_218, 3_985, 12_612, 3_985]
    assert 25_882 + 14_218 + 12_612 == 52_712


@pytest.mark.parametrize("where", ["Img", "."])
def test_train_query_and_gallery(tree: Path, where: str) -> None:
    if where == ".":
        (tree / "Img" / "img").rename(tree / "img")
    assert recognises(tree)
    manifest = read(tree, expected=EXPECTED).manifest
    assert manifest.splits == ("train", "train", "query", "gallery", "gallery")
    assert manifest.labels[2] == "id_00000080"
    assert manifest.path(0).is_file()
    assert manifest.boxes is None


def test_boxes_where_they_are_asked_for(tree: Path) -> None:
    prepared = read(tree, boxes=True, expected=EXPECTED)
    assert prepared.manifest.boxes is not None
    assert prepared.manifest.boxes[:2].tolist() == [[0, 0, 6, 8], [1, 2, 7, 8]]  # corners counted from 1
    assert prepared.notes == []
    write(tree / "Anno/list_bbox_inshop.txt", [f"{name} 3 1 {box}" for name, _, _, box in ROWS[1:]])
    with pytest.raises(
        UserError, match=r"list_bbox_inshop.txt' has no box for 'img/WOMEN/Dresses/id_0000000"
    ):
        read(tree, boxes=True, expected=EXPECTED)
    write(tree / "Anno/list_bbox_inshop.txt", [f"{name} 3 1 a b c d" for name, _, _, _ in ROWS])
    with pytest.raises(UserError, match=r"'a' is not a whole number \(corner\)"):
        read(tree, boxes=True, expected=EXPECTED)


def test_what_is_missing_is_counted_and_named(tree: Path) -> None:
    (tree / "Img" / ROWS[2][0]).unlink()
    words = (
        r"0 of 1 query images \(1 missing\); 0 of 1 query items \(1 missing\); 1 listed and not there: 'img/M"
    )
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    assert len(read(tree, partial=True, expected=EXPECTED).manifest) == 4


def test_broken_lists(tree: Path) -> None:
    file = tree / "Eval/list_eval_partition.txt"
    lines = [f"{name} {item} {split}" for name, item, split, _ in ROWS]
    write(file, lines, promised=7)
    with pytest.raises(UserError, match=r"list_eval_partition.txt' promises 7 rows and lists 5: unpack"):
        read(tree, expected=EXPECTED)
    write(file, [*lines[:4], lines[4].replace("gallery", "galery")])
    with pytest.raises(UserError, match=r"01_3_back.jpg' has the split 'galery', not one of"):
        read(tree, expected=EXPECTED)
    write(file, [*lines, lines[0]])
    with pytest.raises(UserError, match=r"line 8: the image 'img/WOMEN.* is there already in line 3"):
        read(tree, expected=EXPECTED)
    file.unlink()
    with pytest.raises(UserError, match=r"has no 'Eval/list_eval_partition.txt': pass the folder"):
        read(tree, expected=EXPECTED)
    assert not recognises(tree)
