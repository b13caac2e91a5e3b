"""Market-1501's layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.data.layouts.market1501 import PUBLISHED, read, recognises
from understudy.errors import UserError

PARTS = {
    "bounding_box_train": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000776_01.jpg", "0007_c3s3_077419_03.jpg"],
    "query": ["0001_c1s1_001051_00.jpg", "0003_c6s4_000001_00.jpg"],
    "bounding_box_test": [
        "-1_c1s1_000401_03.jpg",
        "-1_c2s1_000401_03.jpg",
        "0000_c1s1_000151_01.jpg",
        "0001_c2s1_001051_01.jpg",
        "0003_c1s1_001051_01.jpg",
        "0003_c6s4_001051_01.jpg",
    ],
    "gt_bbox": [
        "0001_c1s1_001051_00.jpg",
        "0001_c1s1_009051_00.jpg",
        "0001_c4s1_001051_00.jpg",
        "0002_c1s1_000451_00.jpg",
        "0003_c6s4_000001_00.jpg",
        "0007_c3s3_077419_00.jpg",
    ],
}
EXPECTED = {
    "images in bounding_box_train": 3,
    "identities in bounding_box_train": 2,
    "images in query": 2,
    "identities in query": 2,
    "images in bounding_box_test": 6,
    "identities in bounding_box_test": 2,
    "distractors (0000) in bounding_box_test": 1,
    "junk images (-1) in bounding_box_test": 2,
    "images in gt_bbox": 6,
    "identities in gt_bbox": 4,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for part, names in PARTS.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "Thumbs.db").touch()
        for name in names:
            (tmp_path / part / name).touch()
    return tmp_path


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [12_936, 751, 3_368, 750, 19_732, 750, 2_798, 3_819, 25_259, 1_501]
    assert PUBLISHED.keys() == EXPECTED.keys()


def test_splits_identities_and_cameras_come_from_folders_and_names(tree: Path) -> None:
    assert recognises(tree)
    prepared = read(tree, expected=EXPECTED)
    manifest = prepared.manifest
    assert manifest.cameras is not None
    rows = list(zip(manifest.splits, manifest.labels, manifest.cameras, strict=True))
    assert rows == [
        ("train", "0002", "1"),
        ("train", "0002", "2"),
        ("train", "0007", "3"),
        ("query", "0001", "1"),
        ("query", "0003", "6"),
        ("gallery", "0000", "1"),
        ("gallery", "0001", "2"),
        ("gallery", "0003", "1"),
        ("gallery", "0003", "6"),
        ("multi_query", "0001", "1"),
        ("multi_query", "0001", "1"),
        ("multi_query", "0003", "6"),
    ]
    assert prepared.notes == ["2 junk images (identity -1) are left out: a ranking passes over them"]
    assert not any("-1_" in path for path in manifest.paths)
    # the two folders share names; ids tell them apart
    assert len(set(manifest.ids)) == 12


def test_without_the_drawn_boxes(tree: Path) -> None:
    (tree / "gt_bbox").rename(tree / "elsewhere")
    prepared = read(tree, expected=EXPECTED)
    assert "multi_query" not in prepared.manifest.splits
    assert prepared.notes[1].startswith("there is no 'gt_bbox', so multi-query evaluation has nothing")


def test_what_is_missing_is_counted(tree: Path) -> None:
    (tree / "bounding_box_test" / "-1_c1s1_000401_03.jpg").unlink()
    (tree / "bounding_box_test" / "0000_c1s1_000151_01.jpg").unlink()
    (tree / "query" / "0003_c6s4_000001_00.jpg").unlink()
    words = (
        r"1 of 2 images in query \(1 missing\); 1 of 2 identities in query \(1 missing\); 4 of 6 images in "
        r"bounding_box_test \(2 missing\); 0 of 1 distractors \(0000\) in bounding_box_test \(1 missing\); 1 "
        r"of 2 junk images \(-1\) in bounding_box_test \(1 missing\): unpack"
    )
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    prepared = read(tree, partial=True, expected=EXPECTED)
    assert prepared.notes[0].startswith(repr(str(tree)) + " is not the whole data set")
    assert prepared.manifest.splits.count("multi_query") == 2


def test_other_names_and_other_archives_are_refused(tree: Path) -> None:
    (tree / "query" / "0003_c6s4_000001_00.jpg").rename(tree / "query" / "MSMT_0003.jpg")
    with pytest.raises(
        UserError, match=r"MSMT_0003.jpg' is not named as an image of Market-1501 \(0002_c1s1"
    ):
        read(tree, expected=EXPECTED)
    (tree / "bounding_box_test").rename(tree / "test")
    with pytest.raises(
        UserError, match="has no 'bounding_box_test': pass the folder that the archive of Mark"
    ):
        read(tree, expected=EXPECTED)
    assert not recognises(tree)
