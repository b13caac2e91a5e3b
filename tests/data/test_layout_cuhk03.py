"""CUHK03's one file, written small in its own layout."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from understudy.data.dataset import open_dataset
from understudy.data.layouts import cuhk03
from understudy.data.layouts.cuhk03 import PUBLISHED, read, recognises
from understudy.errors import UserError

PERSONS = [3, 2, 2, 1, 1]  # in each camera pair
TESTED = [[(1, 2), (3, 1)], [(2, 1), (1, 1)]]
EXPECTED = {
    "identities": 9,
    "detected images": 9 * 3,
    "labelled images": 9 * 4,
    "test sets": 2,
    "identities of the classic protocol": 7,
    "validation identities": 2,
    "detected train images (767/700)": 3,
    "detected query images (767/700)": 2,
    "detected gallery images (767/700)": 1,
    "labelled train images (767/700)": 0,
    "labelled query images (767/700)": 0,
    "labelled gallery images (767/700)": 0,
}
# which of the ten places of a person hold an image
PLACES = {"detected": (0, 4, 7), "labeled": (1, 2, 5, 9)}


def pixels(boxes: str, pair: int, person: int, place: int) -> np.ndarray:
    image = np.zeros((5, 3, 3), dtype=np.uint8)  # height, width, colours
    image[1, 2] = (len(boxes), 10 * pair + person, place)
    return image


def write(path: Path, tested: list[list[tuple[int, int]]] = TESTED) -> None:
    """MATLAB 7.3: cells are arrays of references, every matrix is turned, what is empty is two zeros."""
    with h5py.File(path, "w") as file:
        heap = file.create_group("#refs#")
        empty = heap.create_dataset("nothing", data=np.zeros(2, dtype=np.uint64))
        for boxes, places in PLACES.items():
            top = file.create_dataset(boxes, (1, len(PERSONS)), dtype=h5py.ref_dtype)
            for pair, persons in enumerate(PERSONS, start=1):
                cell = heap.create_dataset(f"{boxes}{pair}", (10, persons), dtype=h5py.ref_dtype)
                for person in range(1, persons + 1):
                    for place in range(10):
                        image = empty
                        if place in places:
                            turned = pixels(boxes, pair, person, place).T
                            image = heap.create_dataset(f"{boxes}{pair}-{person}-{place}", data=turned)
                        cell[place, person - 1] = image.ref
                top[0, pair - 1] = cell.ref
        sets = file.create_dataset("testsets", (1, len(tested)), dtype=h5py.ref_dtype)
        for place, pairs in enumerate(tested):
            data = heap.create_dataset(f"test{place}", data=np.array(pairs, dtype=np.float64).T)
            sets[0, place] = data.ref


def write_new_protocol(path: Path, *, row: int = 1) -> None:
    files = [
        f"1_00{person}_{view}_{place:02}.png" for person in (1, 2) for view, place in ((1, 1), (1, 5), (2, 8))
    ]
    column = np.array(files, dtype=object)[:, None]
    savemat(
        path,
        {"filelist": column, "train_idx": [[row], [2], [3]], "query_idx": [[4], [6]], "gallery_idx": [[5]]},
    )


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # sixty small files a test
    (tmp_path / "cuhk03_release").mkdir()
    write(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_new_protocol(tmp_path / "cuhk03_new_protocol_config_detected.mat")
    return tmp_path


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values())[:6] == [1_467, 14_097, 14_096, 20, 1_360, 100]
    assert list(PUBLISHED.values())[6:] == [7_365, 1_400, 5_332, 7_368, 1_400, 5_328]
    assert 7_365 + 1_400 + 5_332 == 14_097
    assert 7_368 + 1_400 + 5_328 == 14_096
    assert PUBLISHED.keys() == EXPECTED.keys()


def test_images_are_taken_out_and_named(tree: Path) -> None:
    calls: list[tuple[int, int]] = []
    manifest = read(
        tree, progress=lambda done, total: calls.append((done, total)), expected=EXPECTED
    ).manifest
    assert calls == [(done, 63) for done in range(1, 64)]
    assert manifest.root == tree / "cuhk03_release" / "images"
    assert manifest.paths[:3] == tuple(f"detected/1_001_{rest}.png" for rest in ("1_01", "1_05", "2_08"))
    assert manifest.cameras is not None
    for row, path in enumerate(manifest.paths):
        boxes, name = path.split("/")
        pair, person, view, place = map(int, name.removesuffix(".png").split("_"))
        original = {"detected": "detected", "labelled": "labeled"}[boxes]
        with Image.open(manifest.path(row)) as image:
            assert np.array_equal(np.asarray(image), pixels(original, pair, person, place - 1))
        assert view == (1 if place <= 5 else 2)
        assert manifest.labels[row] == f"{pair}_{person:03}"
        assert int(manifest.cameras[row]) == 2 * pair - 2 + view
    assert len(manifest) == 63
    assert len(set(manifest.cameras)) == 10


def test_the_standard_splits(tree: Path) -> None:
    prepared = read(tree, expected=EXPECTED)
    manifest = prepared.manifest
    label = dict(zip(manifest.ids, manifest.labels, strict=True))
    names = [f"{boxes}-{place:02}" for boxes in ("detected", "labelled") for place in (1, 2)]
    assert sorted(prepared.splits) == sorted([*names, "detected-new"])
    for name in names:
        boxes, place = name.split("-")
        people: dict[str, set[str]] = {}
        for image, part in prepared.splits[name].items():
            assert image.startswith(boxes)
            people.setdefault(part, set()).add(label[image])
            if part in ("query", "gallery"):  # first view and second view
                assert image.split("_")[2] == ("1" if part == "query" else "2")
        tested = {f"{pair}_{person:03}" for pair, person in TESTED[int(place) - 1]}
        assert people["query"] == people["gallery"] == tested
        assert len(people["val"]) == 2
        assert len(people["train"]) == 3
        assert not people["val"] & people["train"]
        assert not any(person[0] in "45" for some in people.values() for person in some)
    # both kinds of boxes share their validation identities, and so does the next run
    validation = [{label[i] for i, part in prepared.splits[n].items() if part == "val"} for n in names]
    assert validation[0] == validation[2]
    assert validation[1] == validation[3]
    assert prepared.splits == read(tree, expected=EXPECTED).splits
    assert "2 of each standard split are drawn by a generator seeded with its number" in prepared.notes[0]


def test_the_new_protocol_and_the_choice_of_a_split(tree: Path) -> None:
    prepared = read(tree, split="detected-new", expected=EXPECTED)
    assert prepared.splits["detected-new"] == {
        "detected/1_001_1_01.png": "train",
        "detected/1_001_1_05.png": "train",
        "detected/1_001_2_08.png": "train",
        "detected/1_002_1_01.png": "query",
        "detected/1_002_2_08.png": "query",
        "detected/1_002_1_05.png": "gallery",
    }
    assert prepared.manifest.splits.count("train") == 3
    assert prepared.notes[-1].startswith("without 'cuhk03_new_protocol_config_labeled.mat' there is no split")
    prepared.save(tree / "m.parquet")
    assert open_dataset(tree / "m.parquet").manifest.splits == prepared.manifest.splits
    first = open_dataset(tree / "m.parquet", split_name="labelled-01").manifest
    assert {first.path(row).name[:5] for row in first.rows("query")} == {"1_002", "3_001"}
    with pytest.raises(UserError, match=r"no split named 'labeled-01': did you mean 'labelled-01'\?"):
        open_dataset(tree / "m.parquet", split_name="labeled-01")
    with pytest.raises(UserError, match=r"CUHK03 has no split named 'new' here: known are detected-01"):
        read(tree, split="new", expected=EXPECTED)
    (tree / "fresh").mkdir()
    for words in ({"split": "new"}, {"expected": EXPECTED | {"test sets": 20}}):
        with pytest.raises(UserError):
            read(tree, images=tree / "fresh", **{"expected": EXPECTED} | words)
    assert not list((tree / "fresh").iterdir())  # refused before images are taken out


def test_taking_images_out_goes_on_where_it_was(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read(tree, progress=stop, expected=EXPECTED)
    root = tree / "cuhk03_release" / "images"
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    assert len(before) == 30
    assert not [path for path in root.rglob("*") if path.is_file() and path.suffix != ".png"]
    read(tree, expected=EXPECTED)
    assert len([*root.rglob("*.png")]) == 63
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_images_may_go_elsewhere(tree: Path, tmp_path: Path) -> None:
    manifest = read(
        tree / "cuhk03_release" / "cuhk-03.mat", images=tmp_path / "there", expected=EXPECTED
    ).manifest
    assert manifest.path(0) == tmp_path / "there" / "detected" / "1_001_1_01.png"
    assert not (tree / "cuhk03_release" / "images").exists()


def test_counts_and_contradictions(tree: Path) -> None:
    with pytest.raises(UserError, match=r"27 of 30 detected images \(3 missing\): unpack"):
        read(tree, expected=EXPECTED | {"detected images": 30})
    assert "27 of 30" in read(tree, partial=True, expected=EXPECTED | {"detected images": 30}).notes[0]
    for row in (0, 7):
        write_new_protocol(tree / "cuhk03_new_protocol_config_detected.mat", row=row)
        with pytest.raises(UserError, match=rf"_detected.mat', train_idx: {row} is not the row of an image"):
            read(tree, expected=EXPECTED)
    source = tree / "cuhk03_release" / "cuhk-03.mat"
    for tested in ([[(1, 2), (1, 2)]], [[(1, 2), (4, 1)]], [[(1, 9), (1, 1)]]):
        write(source, tested)
        with pytest.raises(
            UserError, match="test set 1 of CUHK03 names an identity twice or one that has no"
        ):
            read(tree, expected=EXPECTED)


def test_wrong_files(tree: Path) -> None:
    source = tree / "cuhk03_release" / "cuhk-03.mat"
    assert recognises(tree)
    assert recognises(source.parent)
    with pytest.raises(
        UserError, match=r"must be prepared once: run `understudy prepare cuhk03 .* -o cuhk03.pa"
    ):
        open_dataset(tree)
    with h5py.File(source, "a") as file:
        del file["testsets"]
    with pytest.raises(UserError, match=r"cuhk-03.mat' has no variable 'testsets'"):
        read(tree)
    savemat(source, {"detected": 1})
    with pytest.raises(UserError, match=r"cuhk-03.mat' is not an HDF5 file that can be read"):
        read(tree)
    source.unlink()
    with pytest.raises(UserError, match=r"has no 'cuhk-03.mat': pass the file or the folder that holds it"):
        read(tree)


def test_a_missing_library_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(
        UserError, match=r"reading CUHK03 needs h5py, which is not installed: pip install 'und"
    ):
        cuhk03.read(tree)
