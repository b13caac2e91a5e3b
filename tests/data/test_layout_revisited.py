"""Revisited Oxford and Paris on a small tree in their layout: five database images and two queries."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from understudy.data.dataset import open_dataset
from understudy.data.layouts import LAYOUTS, Prepared
from understudy.data.protocol import read_protocol
from understudy.errors import UserError

COUNTS = {"database images": 5, "queries": 2}


def truth() -> dict[str, Any]:
    """As the official file: plain lists of names, 0-based places, corners in fractions of pixels."""
    return {
        "imlist": [f"oxford_00{number}" for number in range(5)],
        "qimlist": ["all_souls_1", "bodleian_2"],
        "gnd": [
            {"bbx": [1.6, 2.5, 11.5, 9.0], "easy": [0, 3], "hard": np.array([1]), "junk": []},
            {"bbx": np.array([-0.7, 0, 20.4, 30.0]), "easy": [], "hard": [4], "junk": np.array([0, 2])},
        ],
    }


def make(folder: Path, value: Any = None, name: str = "roxford5k") -> Path:
    value = truth() if value is None else value
    (folder / "jpg").mkdir(parents=True)
    (folder / f"gnd_{name}.pkl").write_bytes(pickle.dumps(value, 2))
    for number, image in enumerate([*truth()["imlist"], *truth()["qimlist"]]):
        Image.new("RGB", (20, 16), (number * 30, 9, 9)).save(folder / "jpg" / f"{image}.jpg", quality=95)
    return folder


def read(folder: Path, *, name: str = "roxford5k", partial: bool = False) -> Prepared:
    return LAYOUTS[name].read(folder, partial=partial, expected=COUNTS)


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_gallery_queries_and_grades(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "set", name=name)
    assert [key for key in ("roxford5k", "rparis6k") if LAYOUTS[key].recognises(folder)] == [name]  # type: ignore[misc]
    prepared = read(folder, name=name)
    manifest, protocol = prepared.manifest, prepared.protocol
    assert manifest.ids == (*truth()["imlist"], "all_souls_1", "bodleian_2")
    assert manifest.splits == ("gallery",) * 5 + ("query",) * 2
    assert set(manifest.labels) == {""}
    # Pillow's cropping rounds halves to even numbers; the second box ends where its image does
    assert [manifest.box(row) for row in range(4, 7)] == [None, (2, 2, 12, 9), (0, 0, 20, 16)]
    assert protocol is not None
    assert list(zip(protocol.query_ids, protocol.gallery_ids, protocol.relevance, strict=True)) == [
        ("all_souls_1", "oxford_000", "easy"),
        ("all_souls_1", "oxford_003", "easy"),
        ("all_souls_1", "oxford_001", "hard"),
        ("bodleian_2", "oxford_004", "hard"),
        ("bodleian_2", "oxford_000", "junk"),
        ("bodleian_2", "oxford_002", "junk"),
    ]
    assert prepared.notes == []


def test_written_and_opened_again(tmp_path: Path) -> None:
    prepared = read(make(tmp_path / "set"))
    out = tmp_path / "roxford5k.csv"
    prepared.save(out)
    dataset = open_dataset(out)
    row = dataset.manifest.ids.index("all_souls_1")
    assert dataset.image(row).size == (10, 7)
    assert np.abs(np.asarray(dataset.image(row)).mean((0, 1)) - [150, 9, 9]).max() < 3
    protocol = read_protocol(out)
    assert protocol is not None
    assert protocol.rows(dataset.manifest)[1].tolist() == [0, 3, 1, 4, 0, 2]


def test_a_query_that_is_a_database_image_too(tmp_path: Path) -> None:
    """Officially there is none; its row as a query gets an id of its own, and the pairs stay apart."""
    value = truth()
    value["qimlist"][1] = "oxford_002"
    folder = make(tmp_path / "set", value)
    read(folder).save(tmp_path / "m.csv")
    manifest = open_dataset(tmp_path / "m.csv").manifest
    assert manifest.ids[5:] == ("all_souls_1", "oxford_002#1")
    assert manifest.paths[6] == manifest.paths[2] == "set/jpg/oxford_002.jpg"
    assert manifest.box(2) is None
    assert manifest.box(6) == (0, 0, 20, 16)


def test_missing_images_are_named_and_may_be_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    (folder / "jpg" / "oxford_000.jpg").unlink()
    (folder / "jpg" / "bodleian_2.jpg").unlink()
    with pytest.raises(
        UserError,
        match=r"4 of 5 database images \(1 missing\); 1 of 2 queries \(1 missing\); "
        r"2 listed and not there: 'jpg/oxford_000.jpg', 'jpg/bodleian_2.jpg'",
    ):
        read(folder)
    prepared = read(folder, partial=True)
    assert len(prepared.notes) == 1
    assert prepared.manifest.ids == (*truth()["imlist"][1:], "all_souls_1")
    assert prepared.protocol is not None
    assert prepared.protocol.gallery_ids.tolist() == ["oxford_003", "oxford_001"]
    shutil.rmtree(folder / "jpg")
    with pytest.raises(UserError, match="0 of 5 database images"):
        read(folder)


def test_counts_are_held_to_the_published_ones(tmp_path: Path) -> None:
    folder = make(tmp_path / "set")
    with pytest.raises(UserError, match=r"5 of 4,993 database images \(4,988 missing\); 2 of 70 queries"):
        LAYOUTS["roxford5k"].read(folder)
    make(tmp_path / "other", name="rparis6k")
    with pytest.raises(UserError, match="5 of 6,322 database images"):
        LAYOUTS["rparis6k"].read(tmp_path / "other")


def changed(**grades: Any) -> dict[str, Any]:
    value = truth()
    value["gnd"][0] |= grades
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "does not hold imlist, qimlist and gnd with bbx, easy, hard and junk of each query: get"),
        ({"imlist": [], "qimlist": []}, "does not hold imlist"),
        (changed(easy=["oxford_000"]), "does not hold imlist"),
        (changed(bbx=[1, 2, 3]), "the box of the query 'all_souls_1' is not four numbers: get"),
        (changed(bbx=[30, 2, 40, 5]), r"all_souls_1.jpg' has 20 × 16 pixels and its query the box 30 2 40 5"),
        (changed(hard=[5]), "the query 'all_souls_1' grades an image beyond the 5 of imlist"),
        (changed(easy=[-1]), "grades an image beyond"),
        (changed(junk=[3]), "the query 'all_souls_1' grades an image twice"),
        ({**truth(), "gnd": truth()["gnd"][:1]}, "it names 2 queries and grades 1"),
        ({**truth(), "imlist": ["oxford_000"] * 5}, "imlist names an image twice"),
        (Path("a"), "asks for pathlib.*PosixPath.*could run code"),
    ],
)
def test_a_ground_truth_that_is_not_right(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(make(tmp_path / "set", value))


def test_no_ground_truth_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no file 'gnd_roxford5k.pkl': pass the folder"):
        read(tmp_path)
    folder = make(tmp_path / "set")
    (folder / "jpg" / "bodleian_2.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bodleian_2.jpg' cannot be read as an image"):
        read(folder)
