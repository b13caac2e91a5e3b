"""What all layouts share: counts, and what is written beside a manifest."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from understudy.data.dataset import open_dataset
from understudy.data.layouts import LAYOUTS, Prepared
from understudy.data.layouts._counts import check
from understudy.data.manifest import Manifest
from understudy.data.protocol import Protocol
from understudy.errors import UserError


def test_every_part_that_differs_is_named_and_by_how_much() -> None:
    parts = {"training images": (5_863, 5_864), "test images": (5_924, 5_924), "classes": (203, 200)}
    words = (
        r"^'birds' is not the whole data set: 5,863 of 5,864 training images \(1 missing\); "
        r"203 of 200 classes \(3 too many\); 4 listed and not there: 'a', 'b', 'c', …; owls are short: "
        r"unpack the official archive again, or pass --partial to go on with what is there$"
    )
    with pytest.raises(UserError, match=words):
        check("birds", parts, absent=["a", "b", "c", "d"], detail="owls are short")
    (note,) = check("birds", parts, partial=True)
    assert note.endswith("203 of 200 classes (3 too many)")
    assert check("birds", {"classes": (2, 2)}, detail="owls are short") == []


def test_what_is_saved_is_opened_again(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "birds.parquet"
    manifest = Manifest.of_paths(tmp_path, ["a.jpg", "b.jpg"], labels=["wren", "owl"])
    Prepared(manifest, Protocol.of([("a.jpg", "b.jpg", "hard")]), {"other": {"b.jpg": "query"}}).save(out)
    dataset = open_dataset(out)
    assert dataset.manifest.path(0) == tmp_path / "a.jpg"
    assert dataset.manifest.ids == ("a.jpg", "b.jpg")  # though the manifest lies elsewhere
    assert dataset.protocol is not None
    assert dataset.protocol.query_ids.tolist() == ["a.jpg"]
    assert open_dataset(out, split_name="other").manifest.splits == ("", "query")


def test_a_new_preparation_leaves_no_protocol_of_the_old_one(tmp_path: Path) -> None:
    manifest = Manifest.of_paths(tmp_path, ["a.jpg", "b.jpg"])
    Prepared(manifest, Protocol.of([("a.jpg", "b.jpg", "easy")])).save(tmp_path / "m.csv")
    assert open_dataset(tmp_path / "m.csv").protocol is not None
    Prepared(Manifest.of_paths(tmp_path, ["c.jpg"])).save(tmp_path / "m.csv")
    assert open_dataset(tmp_path / "m.csv").protocol is None


def test_every_layout_has_a_line_for_the_help() -> None:
    assert all(layout.summary and "\n" not in layout.summary for layout in LAYOUTS.values())


def test_the_page_of_data_sets_has_every_layout_and_every_count() -> None:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    for name, layout in LAYOUTS.items():
        assert f"understudy prepare {name} " in page, name
        published = inspect.signature(layout.read).parameters.get("expected")
        for part, count in (published.default if published else {}).items():
            assert f"{count:,}" in page, (name, part)
