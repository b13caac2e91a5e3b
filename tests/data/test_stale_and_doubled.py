"""What an earlier preparation, an earlier pack or a list kept twice must not do to figures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.dataset import open_dataset
from understudy.data.images import read_image
from understudy.data.layouts import LAYOUTS, Prepared
from understudy.data.manifest import Manifest
from understudy.data.protocol import Protocol
from understudy.data.store import Store, pack
from understudy.errors import UserError

Command = Callable[..., Any]


def save_set(folder: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    features = datasets.Features({"image": datasets.Image()})
    rows = {"image": [Image.fromarray(one) for one in pixels]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(folder))


def test_a_new_preparation_leaves_no_split_of_the_old_one(tmp_path: Path) -> None:
    manifest, out = Manifest.of_paths(tmp_path, ["a.jpg", "b.jpg"]), tmp_path / "m.csv"
    Prepared(manifest, splits={"one": {"a.jpg": "query"}, "two": {"b.jpg": "query"}}).save(out)
    Prepared(manifest, splits={"two": {"a.jpg": "query"}}).save(out)
    with pytest.raises(UserError, match="no split named 'one': "):
        open_dataset(out, split_name="one")
    assert open_dataset(out, split_name="two").manifest.splits == ("query", "")


def test_a_manifest_of_another_ending_leaves_nothing_behind(tmp_path: Path) -> None:
    prepared = Prepared(
        Manifest.of_paths(tmp_path, ["a", "b"]), Protocol.of([("a", "b", "easy")]), {"one": {"a": "test"}}
    )
    with pytest.raises(UserError, match="ends in neither"):
        prepared.save(tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_another_ending_is_refused_before_anything_is_read(command: Command, tmp_path: Path) -> None:
    done = command("prepare", "folder", tmp_path / "nowhere", "-o", tmp_path / "m.json")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "m.json' ends in neither .csv nor .parquet" in done.err


def test_a_pair_that_is_listed_twice_is_refused() -> None:
    manifest = Manifest.of_paths(".", ["a", "b", "q"])
    protocol = Protocol.of([("q", "a", "easy"), ("q", "b", "easy"), ("q", "a", "junk")])
    with pytest.raises(UserError, match=r"^the pair of 'q' and 'a' is listed twice: keep it once$"):
        protocol.rows(manifest)


def test_a_set_that_was_saved_again_is_not_served_from_its_old_pack(tmp_path: Path) -> None:
    folder, out = tmp_path / "birds", tmp_path / "birds.parquet"
    save_set(folder, 1)
    LAYOUTS["huggingface"].read(folder).save(out)
    store = pack(out, resize=(6, 8), mode="squash")
    before = open_dataset(out).pixels(resize=(6, 8), mode="squash").tensor
    store.verify(open_dataset(out).manifest)
    for file in folder.iterdir():
        file.unlink()
    save_set(folder, 2)
    os.utime(folder / "state.json", ns=(1, 1))  # another time, however coarse the clock of the disk is
    with pytest.raises(UserError, match="3 of 3 image files have changed since they were packed"):
        open_dataset(out).pixels(resize=(6, 8), mode="squash")
    pack(out, resize=(6, 8), mode="squash")
    dataset = open_dataset(out)
    packed = dataset.pixels(resize=(6, 8), mode="squash").tensor
    assert not torch.equal(packed, before)
    assert torch.equal(packed, replace(dataset, pack=None).pixels(resize=(6, 8), mode="squash").tensor)


def test_an_item_that_points_to_no_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, words in (("no image", "is not an image"), ("", "is empty")):
        (tmp_path / "note.txt").write_text(content)
        monkeypatch.setattr("understudy.data.huggingface.item", lambda _: tmp_path / "note.txt")
        with pytest.raises(UserError, match=f"birds#0' {words}"):
            read_image(tmp_path / "birds#0")


def test_facts_that_lack_something_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "birds" / "1.png")
    store = pack(tmp_path / "birds", resize=(4, 4))
    (store.place / "store.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(
        UserError, match=r"store.json' is damaged \(it lacks 'form'\): remove the pack and pack"
    ):
        Store.open(store.place)
    assert len(pack(tmp_path / "birds", resize=(4, 4), overwrite=True)) == 1
