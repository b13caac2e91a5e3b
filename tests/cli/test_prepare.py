from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from understudy.data import omniglot as module
from understudy.data import read_manifest

Command = Callable[..., Any]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_folder_becomes_a_manifest_that_trains(
    command: Command, tmp_path: Path, make_images: Callable[..., Path], ending: str
) -> None:
    images = make_images(tmp_path / "images", classes=4, splits=("train", "test"))
    out = tmp_path / f"all.{ending}"
    done = command("prepare", "folder", images, "--out", out)
    assert (done.status, done.out) == (0, f"48 images, 8 classes: {out}\n")
    manifest = read_manifest(out)
    assert [len(manifest.rows(split)) for split in ("train", "test")] == [24, 24]
    model = ("--model", "smallconv_8", "--student.input-size", "[16,16]", "--steps", 1)
    assert command("train", "--data", out, *model, "--out", tmp_path / "run").status == 0


def draw(root: Path, characters: dict[str, int], drawings: int) -> None:
    for part, count in characters.items():
        for number in range(count):
            folder = root / part / f"Alphabet of {part}" / f"character{number + 1:02d}"
            folder.mkdir(parents=True)
            for drawer in range(drawings):
                Image.new("L", (4, 4), 40 * number).save(folder / f"{number:04d}_{drawer + 1:02d}.png")


def test_a_part_of_omniglot_is_not_taken_for_the_whole(command: Command, tmp_path: Path) -> None:
    draw(tmp_path / "omniglot", {"images_background": 3, "images_evaluation": 2}, drawings=20)
    done = command("prepare", "omniglot", tmp_path / "omniglot", "--out", tmp_path / "m.csv")
    assert done.status == 2
    background = str(tmp_path / "omniglot" / "images_background")
    assert done.err == (
        f"error: {background!r} holds 3 characters and 60 drawings where Omniglot has 964 and 19,280: "
        "unpack the official archive again\n"
    )
    assert not (tmp_path / "m.csv").exists()
    alone = command("prepare", "omniglot", tmp_path / "omniglot" / "images_background")
    assert alone.status == 2
    assert "has no folder 'images_background': pass the folder that holds" in alone.err


def test_a_whole_omniglot_becomes_a_manifest(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        module, "_PARTS", {"images_background": ("train", 3), "images_evaluation": ("test", 2)}
    )
    draw(tmp_path / "omniglot", {"images_background": 3, "images_evaluation": 2}, drawings=20)
    done = command("prepare", "omniglot", tmp_path / "omniglot", "--out", tmp_path / "m.csv")
    assert (done.status, done.out) == (0, f"100 images, 5 classes: {tmp_path / 'm.csv'}\n")
    manifest = read_manifest(tmp_path / "m.csv")
    assert [len(manifest.rows(split)) for split in ("train", "test")] == [60, 40]
    assert manifest.cameras is not None
    assert len(set(manifest.cameras)) == 20
