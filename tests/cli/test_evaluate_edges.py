"""``understudy evaluate`` where images cannot be read, nothing is labelled, or an option says nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import Manifest
from understudy.data.protocol import Protocol, write_protocol
from understudy.data.table import write_table

Command = Callable[..., Any]

SPLITS = ["query", "gallery", "gallery", "gallery"] * 3
CAMERAS = ["a", "b", "b", "c"] * 3
LABELS = [name for name in "xyz" for _ in range(4)]
MODEL = "timm:smallconv_8?weights=random&dim=8"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``images/`` of three classes, ``data.csv`` of them and ``table`` of their vectors."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    ids = [f"{n:02}.png" for n in range(12)]
    (tmp_path / "images").mkdir()
    for name in ids:
        Image.fromarray(generator.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / "images" / name)
    manifest = Manifest.of_paths(
        tmp_path / "images", ids, labels=LABELS, splits=list(SPLITS), cameras=list(CAMERAS)
    )
    manifest.save(tmp_path / "data.csv")
    write_table(tmp_path / "table", torch.randn(12, 8), ids, metadata={"teacher": "noise"})
    Manifest.of_paths(tmp_path / "images", ids, splits=list(SPLITS)).save(tmp_path / "plain.csv")
    return tmp_path


def measured(command: Command, *words: object) -> dict[str, Any]:
    done = command("evaluate", *words, "--json")
    assert done.status == 0, done.err
    report: dict[str, Any] = json.loads(done.out)
    return report


def test_what_could_not_be_read_is_in_the_report(command: Command, place: Path) -> None:
    for name in ("00.png", "05.png"):
        (place / "images" / name).write_bytes(b"no image")
    report = measured(command, MODEL, "data.csv", "--skip-unreadable", "--against", "table")
    assert report["provenance"]["data"]["unreadable"] == ["00.png", "05.png"]
    assert (report["counts"]["queries"], report["counts"]["gallery"]) == (2, 8)
    beside = report["beside"]["table"]["counts"]
    assert (beside["queries"], beside["gallery"]) == (2, 8)


def test_a_multi_query_without_any_readable_image_is_left_out(command: Command, place: Path) -> None:
    manifest = Manifest.of_paths(
        place / "images",
        [f"{n:02}.png" for n in range(12)],
        labels=LABELS,
        splits=["query", "gallery", "multi_query", "gallery"] * 3,
        cameras=["a", "b", "a", "c"] * 3,
    )
    manifest.save(place / "multi.csv")
    (place / "images" / "02.png").write_bytes(b"no image")
    words = ("multi.csv", "--protocol", "reid_multi", "--skip-unreadable")
    assert measured(command, MODEL, *words)["counts"]["queries"] == 2


def test_the_ground_truth_is_in_the_report(command: Command, place: Path) -> None:
    hashes = []
    for word in ("easy", "hard"):
        pairs = [("00.png", "01.png", word), ("04.png", "05.png", "easy")]
        write_protocol(Protocol.of(pairs), place / "data.csv")
        hashes.append(measured(command, "table", "data.csv")["provenance"]["data"])
    assert hashes[0]["sha256"] == hashes[1]["sha256"]
    assert hashes[0]["pairs_sha256"] != hashes[1]["pairs_sha256"]


def test_strips_of_single_shot_are_scored_at_any_cut_off(command: Command, place: Path) -> None:
    words = ("--protocol", "single_shot", "--draws", 2, "--ks", "2", "--strips", 1)
    assert command("evaluate", "table", "data.csv", *words).status == 0
    assert (place / "strips" / "strips-1.png").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("plain.csv", "--strips", "1", "--teacher", "table"), "no image has a label to say what is right"),
        (
            ("plain.csv", "--protocol", "metric_learning", "--clustering", "--teacher", "table"),
            "no image has a label to say what is right",
        ),
        (("data.csv", "--whiten-dim", "3"), "choose pca or learned"),
        (("data.csv", "--seed", str(2**63)), "seeds are whole numbers from 0, below 2**63"),
    ],
)
def test_mistakes_are_told_before_anything_is_embedded(
    command: Command, place: Path, words: tuple[str, ...], sentence: str
) -> None:
    done = command("evaluate", "table", *words)
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
    assert not (place / "strips").exists()
