"""The manifest: what it says, what it refuses, and that it survives the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from csv import field_size_limit
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.data.manifest import Manifest, read_manifest
from understudy.errors import UserError


def csv(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


FULL = """id,path,label,split,camera,box,comment
one,a.png,owl,train,c2,1 2 10 20,"a, b"
two,b.png,,test,c1,,
three,sub/c.png,ant,,c2,"0,0,5,5",x
four,d.png,owl,train,,,
"""


def test_every_column_is_read(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, FULL))
    assert len(manifest) == 4
    assert manifest.root == tmp_path
    assert manifest.ids == ("one", "two", "three", "four")
    assert manifest.paths == ("a.png", "b.png", "sub/c.png", "d.png")
    assert manifest.texts is None
    assert manifest.classes == ("ant", "owl")
    assert manifest.label_codes().tolist() == [1, -1, 0, 1]
    assert manifest.splits == ("train", "test", "", "train")
    cameras = manifest.camera_codes()
    assert cameras is not None
    assert cameras.tolist() == [1, 0, 1, -1]
    assert [manifest.box(row) for row in range(4)] == [(1, 2, 10, 20), None, (0, 0, 5, 5), None]
    assert manifest.path(2) == tmp_path / "sub" / "c.png"
    assert manifest.rows("train").tolist() == [0, 3]
    assert manifest.rows("gallery").tolist() == []
    assert manifest.rows("train").dtype == np.int64


def test_the_least_a_manifest_has(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, "path,label,split\n/x/a.png,,\n"))
    assert manifest.ids == ("/x/a.png",)
    assert manifest.cameras is None
    assert manifest.camera_codes() is None
    assert manifest.boxes is None
    assert manifest.path(0) == Path("/x/a.png")


def test_texts_are_items_too(tmp_path: Path) -> None:
    text = 'text,label,split\n"two\nlines",a,train\nshort,b,trian\n'
    with pytest.raises(
        UserError, match=r"m.csv', line 4, split: 'trian' is not a split: did you mean 'train'\?"
    ):
        read_manifest(csv(tmp_path, text))
    manifest = read_manifest(csv(tmp_path, text.replace("trian", "val")))
    assert manifest.texts == ("two\nlines", "short")
    assert manifest.paths == ()
    assert manifest.ids == manifest.texts
    twice = "text,label,split\nsame,a,train\nsame,b,val\n"
    with pytest.raises(
        UserError, match=r"line 3, text: 'same' is there already in line 2: give each text an 'id'"
    ):
        read_manifest(csv(tmp_path, twice))
    named = "id,text,label,split\n1,same,a,train\n2,same,b,val\n"
    assert read_manifest(csv(tmp_path, named)).ids == ("1", "2")


def test_an_unknown_split_is_refused() -> None:
    manifest = Manifest.of_paths(".", ["a.png"])
    with pytest.raises(UserError, match=r"'galery' is not a split: did you mean 'gallery'\?"):
        manifest.rows("galery")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "m.csv' is empty: its first line must name the columns"),
        ("path,label,split\n", "m.csv' has a header and no rows"),
        ("file,label,split\na,b,train\n", r"m.csv' has no column 'path' \(the image files\): add it"),
        ("Path,label,split\na,b,train\n", r"m.csv' has no column 'path' \(the image files\): rename 'path'"),
        ("path,lable,split\na,b,train\n", r"m.csv' has no column 'label' .*: rename 'lable'"),
        ("path,label\na,b\n", r"m.csv' has no column 'split' \(train, val, .*; empty for none\): add it"),
        ("path,text,label,split\na,b,c,train\n", "m.csv' has both a 'path' and a 'text' column"),
        ("path,label,split,camra\na,b,train,1\n", r"m.csv' has a column 'camra': did you mean 'camera'\?"),
        ("path,label,split,label\na,b,train,1\n", "m.csv', line 1: the column 'label' is there twice"),
        (
            "path,label,split\na,b,tset\n",
            r"m.csv', line 2, split: 'tset' is not a split: did you mean 'test'\?",
        ),
        ("path,label,split\na,b,train\n,b,train\n", "m.csv', line 3, path: it is empty"),
        (
            "path,label,split\na,b,train\n\nc,b,train\na,c,test\n",
            "m.csv', line 5, path: 'a' is there already in line 2: keep one of the two",
        ),
        (
            "path,id,label,split\na,1,b,train\nc,1,b,train\n",
            "m.csv', line 3, id: '1' is there already in line 2",
        ),
        ("path,label,split\na,b,train\nc,d\n", "m.csv', line 3: 2 fields under 3 columns: put quotes around"),
        ("path,label,split\na,b,train,c\n", "m.csv', line 2: 4 fields under 3 columns"),
        ('path,label,split\na,"b"c,train\n', "m.csv', line 2: it is not CSV"),
        ('path,label,split\na,"b,train\n', "m.csv', line 2: it is not CSV"),
        ("path,label,split,box\na,b,train,1 2 3\n", "m.csv', line 2, box: '1 2 3' is not four whole numbers"),
        (
            "path,label,split,box\na,b,train,1 2 3 x\n",
            "m.csv', line 2, box: '1 2 3 x' is not four whole numbers",
        ),
        ("path,label,split,box\na,b,train,5 2 5 9\n", "m.csv', line 2, box: '5 2 5 9' is empty or negative"),
        (
            "path,label,split,box\na,b,train,-1 0 5 9\n",
            "m.csv', line 2, box: '-1 0 5 9' is empty or negative",
        ),
        (
            "path,label,split,box\na,b,train,0 0 5 9\na,b,train,0 0 5 9\n",
            "m.csv', line 3, path: 'a' is there already in line 2",
        ),
        (
            "path,label,split,box\na,b,train,0 0 3 99999999999999999999\n",
            "m.csv', line 2, box: '0 0 3 99999999999999999999' is larger than any image",
        ),
        (
            "path,label,split\nx/./a.png,b,train\nx//a.png,c,train\n",
            "m.csv', line 3, path: 'x//a.png' is there already in line 2: keep one of the two",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_row_and_column(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_manifest(csv(tmp_path, text))


def test_files_that_are_no_manifests_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the manifest '.*none.csv' does not exist"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"m.xlsx' ends in neither .csv nor .parquet"):
        read_manifest(csv(tmp_path, "x", "m.xlsx"))
    with pytest.raises(UserError, match=r"m.parquet' is not a Parquet file that can be read \("):
        read_manifest(csv(tmp_path, "path,label", "m.parquet"))
    (tmp_path / "latin.csv").write_bytes("path,label,split\né,b,train\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin.csv' is not UTF-8 text"):
        read_manifest(tmp_path / "latin.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        read_manifest(tmp_path / "folder.csv")


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(b"\xef\xbb\xbfpath,label,split\r\na,b,train\r\n")
    assert read_manifest(tmp_path / "m.csv").splits == ("train",)


def test_several_boxes_of_one_image_are_several_items(tmp_path: Path) -> None:
    text = "path,label,split,box\na,b,train,0 0 5 9\na,b,train,0 0 5 8\nc,d,train,\n"
    manifest = read_manifest(csv(tmp_path, text))
    assert manifest.ids == ("a#0,0,5,9", "a#0,0,5,8", "c")


def test_parquet_of_other_types_is_read(tmp_path: Path) -> None:
    table = {
        "path": ["a.png", "b.png"],
        "label": pa.array([7, None], pa.int64()),
        "split": pa.array(["train", None]).dictionary_encode(),
        "camera": [1, 2],
        "box": pa.array([[0, 0, 5, 9], None]),
        "weight": [0.5, 1.0],
    }
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.labels == ("7", "")
    assert manifest.splits == ("train", "")
    assert manifest.cameras == ("1", "2")
    assert [manifest.box(0), manifest.box(1)] == [(0, 0, 5, 9), None]
    pq.write_table(pa.table(table | {"split": ["train", "tran"]}), tmp_path / "m.parquet")
    with pytest.raises(
        UserError, match=r"m.parquet', row 2, split: 'tran' is not a split: did you mean 'train'\?"
    ):
        read_manifest(tmp_path / "m.parquet")


def parquet(folder: Path, **columns: object) -> Path:
    table = {"path": ["a", "b", "c"], "label": ["x", "y", "z"], "split": ["train"] * 3}
    pq.write_table(pa.table(table | columns), folder / "m.parquet")
    return folder / "m.parquet"


def test_a_gap_among_numbers_is_no_label_and_no_camera(tmp_path: Path) -> None:
    gaps = pa.array([7.0, float("nan"), None], pa.float64())  # as pandas writes 7 and two gaps
    manifest = read_manifest(parquet(tmp_path, label=gaps, camera=gaps, box=[[0.0, 0.0, 5.0, 9.0]] * 3))
    assert manifest.labels == ("7", "", "")
    assert manifest.cameras == ("7", "", "")
    assert manifest.box(0) == (0, 0, 5, 9)
    assert read_manifest(parquet(tmp_path, label=[0.5, 1e3, -2.0])).labels == ("0.5", "1000", "-2")
    words = ["nan", "7.0", "None"]  # text is what it says
    assert read_manifest(parquet(tmp_path, label=words)).labels == tuple(words)


def test_bytes_are_read_as_text(tmp_path: Path) -> None:
    assert read_manifest(parquet(tmp_path, label=[b"owl", "é".encode(), b""])).labels == ("owl", "é", "")
    with pytest.raises(UserError, match=r"m.parquet', row 2, label: b'\\xe9' is not UTF-8 text: write the"):
        read_manifest(parquet(tmp_path, label=[b"owl", b"\xe9", b""]))


def test_only_the_columns_of_a_manifest_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    whole = pq.ParquetFile.read

    def watched(file: pq.ParquetFile, columns: list[str]) -> pa.Table:
        read.extend(columns)
        return whole(file, columns)

    monkeypatch.setattr(pq.ParquetFile, "read", watched)
    read_manifest(parquet(tmp_path, vector=[[1.0], [2.0], [3.0]], camera=["1", "2", "3"]))
    assert sorted(read) == ["camera", "label", "path", "split"]


def test_a_column_that_a_parquet_file_has_twice_is_named(tmp_path: Path) -> None:
    columns = [pa.array(["a"])] * 4
    pq.write_table(pa.Table.from_arrays(columns, ["path", "label", "split", "label"]), tmp_path / "m.parquet")
    with pytest.raises(UserError, match=r"m.parquet' has two columns 'label'"):
        read_manifest(tmp_path / "m.parquet")


@pytest.fixture
def usual_field_limit() -> Iterator[None]:
    before = field_size_limit(131_072)
    yield
    field_size_limit(before)


@pytest.mark.usefixtures("usual_field_limit")
def test_a_long_text_is_read(tmp_path: Path) -> None:
    assert read_manifest(csv(tmp_path, f"text,label,split\n{'a' * 200_000},b,train\n")).texts == (
        "a" * 200_000,
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("kind", ["full", "texts", "least", "boxes", "returns"])
def test_written_and_read_back_it_is_the_same(tmp_path: Path, ending: str, kind: str) -> None:
    text = {
        "full": FULL,
        "texts": 'text,label,split\n"two\nlines, ""quoted""",é,train\n  spaced ,b,\n',
        "returns": 'text,label,split\n"one\rtwo","a\rb",train\n"three\r\nfour",,\n',
        "least": "path,label,split\na.png,,\nb.png,ß,multi_query\n",
        "boxes": "path,label,split,box\na,b,train,0 0 5 9\na,b,train,0 0 5 8\n",
    }[kind]
    manifest = read_manifest(csv(tmp_path, text))
    manifest.save(tmp_path / f"again.{ending}")
    again = read_manifest(tmp_path / f"again.{ending}")
    assert again == manifest
    assert hash(again) == hash(manifest)


def test_manifests_differ_in_any_column(tmp_path: Path) -> None:
    manifest = read_manifest(csv(tmp_path, FULL))
    boxes = np.array(manifest.boxes)
    boxes[0, 2] = 11
    for other in (
        replace(manifest, boxes=boxes),
        replace(manifest, boxes=None),
        replace(manifest, labels=("owl", "", "ant", "ant")),
        replace(manifest, root=tmp_path / "x"),
    ):
        assert other != manifest
    assert manifest != "manifest"


def test_saved_elsewhere_it_still_finds_its_images(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    manifest = read_manifest(csv(tmp_path / "data", FULL))
    for place in (tmp_path / "up.csv", tmp_path / "other" / "m.csv", tmp_path / "data" / "sub" / "m.csv"):
        manifest.save(place)
        again = read_manifest(place)
        assert [os.path.normpath(again.path(row)) for row in range(4)] == [
            os.path.normpath(manifest.path(row)) for row in range(4)
        ]
        assert again.ids == manifest.ids
    assert read_manifest(tmp_path / "up.csv").paths[0] == "data/a.png"
    with pytest.raises(UserError, match="ends in neither"):
        manifest.save(tmp_path / "m.json")


def test_ids_survive_a_move_that_changes_paths(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    manifest = read_manifest(csv(tmp_path / "data", "path,label,split\na.png,,\n"))
    manifest.save(tmp_path / "up.csv")
    assert read_manifest(tmp_path / "up.csv").ids == ("a.png",)
