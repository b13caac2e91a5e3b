"""retrieval-SfM-120k on a small tree in its layout: six images of three models, and two of another."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from understudy.data.dataset import open_dataset
from understudy.data.layouts import LAYOUTS, Prepared
from understudy.data.protocol import read_protocol
from understudy.errors import UserError

COUNTS = {"training images": 6, "validation images": 2}
TRAIN = ["aa01f3", "bb01f3", "0000cc01f4", "dd99", "ee0155", "ff0155"]


def names() -> list[str]:
    return [f"{name:0>8}" for name in TRAIN]


def table() -> dict[str, Any]:
    """As the official file, with the boxes that some copies have and nobody reads."""
    return {
        "train": {
            "cids": names(),
            "cluster": [3, 3, 3, 9, 9, 12],
            "qidxs": [0, 1, 0, 3],
            "pidxs": [1, 0, 1, 4],
            "bbxs": [[0, 0, 1, 1]] * 6,
        },
        "val": {
            "cids": ["12345678", "87654321"],
            "cluster": np.array([3, 3]),
            "qidxs": np.array([1]),
            "pidxs": np.array([0]),
        },
    }


def make(folder: Path, value: Any = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps(table() if value is None else value, 2))
    for name in [*names(), "12345678", "87654321"]:
        place = folder / "ims" / name[-2:] / name[-4:-2] / name[-6:-4]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(place / name, "JPEG")  # official names have no ending
    return folder


def read(folder: Path, **options: Any) -> Prepared:
    return LAYOUTS["sfm120k"].read(folder, expected=COUNTS, **options)


def pairs(prepared: Prepared) -> list[tuple[str, ...]]:
    protocol = prepared.protocol
    assert protocol is not None
    return list(zip(protocol.query_ids, protocol.gallery_ids, protocol.relevance, strict=True))


def test_images_models_and_pairs(tmp_path: Path) -> None:
    prepared = read(make(tmp_path / "set"))
    manifest = prepared.manifest
    assert manifest.ids == (*names(), "12345678", "87654321")
    assert manifest.paths[0] == "ims/f3/01/aa/00aa01f3"
    assert manifest.paths[6] == "ims/78/56/34/12345678"
    assert manifest.labels == (*["train-3"] * 3, *["train-9"] * 2, "train-12", *["val-3"] * 2)
    assert manifest.splits == ("train",) * 6 + ("val",) * 2
    one, two, four, five = (names()[place] for place in (0, 1, 3, 4))
    assert pairs(prepared) == [
        (one, two, "positive"),
        (two, one, "positive"),
        (four, five, "positive"),
        ("87654321", "12345678", "positive"),
    ]
    assert prepared.notes == []


def test_written_and_opened_again(tmp_path: Path) -> None:
    assert LAYOUTS["sfm120k"].recognises is not None
    folder = make(tmp_path / "set")
    assert LAYOUTS["sfm120k"].recognises(folder)
    read(folder).save(tmp_path / "sfm.parquet")
    dataset = open_dataset(tmp_path / "sfm.parquet")
    assert dataset.image(7).size == (8, 6)
    protocol = read_protocol(tmp_path / "sfm.parquet")
    assert protocol is not None
    assert protocol.rows(dataset.manifest)[0].tolist() == [0, 1, 3, 7]


def test_missing_images_take_their_pairs_along(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    (folder / "ims" / "f3" / "01" / "bb" / "00bb01f3").unlink()
    with pytest.raises(
        UserError,
        match=r"5 of 6 training images \(1 missing\); 1 listed and not there: 'ims/f3/01/bb/00bb01f3'",
    ):
        read(folder)
    prepared = read(folder, partial=True)
    assert len(prepared.manifest) == 7
    assert [pair[0] for pair in pairs(prepared)] == [names()[3], "87654321"]
    assert len(prepared.notes) == 1
    with pytest.raises(UserError, match="5 of 91,642 training images"):
        LAYOUTS["sfm120k"].read(folder)


def test_an_image_that_is_listed_twice_is_kept_once(tmp_path: Path) -> None:
    value = table()
    value["val"]["cids"][0] = names()[5]
    prepared = read(make(tmp_path / "set", value))
    assert prepared.manifest.ids == (*names(), "87654321")
    assert pairs(prepared)[-1] == ("87654321", names()[5], "positive")
    assert prepared.notes == ["1 images are listed twice and kept once, where they came first"]


def changed(**columns: Any) -> dict[str, Any]:
    value = table()
    value["train"] |= columns
    return value


@pytest.mark.parametrize(
    "value",
    [
        changed(cluster=[3]),
        changed(qidxs=[0]),
        changed(pidxs=[1, 0, 1, 6]),
        changed(pidxs=[1, 0, 1, -1]),
        changed(pidxs=[1.0, 0.0, 1.0, 4.0]),
        changed(cids=["short"] * 6),
        changed(cids=None),
        {"train": {}, "val": {}},
        {"train": [], "val": []},
    ],
)
def test_a_table_that_is_not_right(tmp_path: Path, value: Any) -> None:
    with pytest.raises(
        UserError, match=r"120k.pkl': 'train' does not hold cids with a cluster each, .*: get"
    ):
        read(make(tmp_path / "set", value))


def test_no_table_and_another_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file 'retrieval-SfM-120k.pkl': pass the folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="does not hold 'train' and 'val': get"):
        read(make(tmp_path / "set", {"train": {}}))
