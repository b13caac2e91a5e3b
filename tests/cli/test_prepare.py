from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from understudy.data import Manifest, open_dataset, read_manifest
from understudy.data.layouts import LAYOUTS, Layout, Prepared

Command = Callable[..., Any]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_folder_becomes_a_manifest_that_trains(
    command: Command, tmp_path: Path, make_images: Callable[..., Path], ending: str
) -> None:
    images = make_images(tmp_path / "images", classes=4, splits=("train", "test"))
    out = tmp_path / f"all.{ending}"
    done = command("prepare", "folder", images, "--out", out)
    assert (done.status, done.out.splitlines()[-1]) == (0, f"48 images, 8 classes: {out}")
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
    words = ("prepare", "omniglot", tmp_path / "omniglot", "--out", tmp_path / "m.csv")
    done = command(*words)
    assert done.status == 2
    assert done.err == (
        f"error: {str(tmp_path / 'omniglot')!r} is not the whole data set: 3 of 964 characters in "
        "images_background (961 missing); 60 of 19,280 drawings in images_background (19,220 missing); "
        "2 of 659 characters in images_evaluation (657 missing); 40 of 13,180 drawings in images_evaluation "
        "(13,140 missing): unpack the official archive again, or pass --partial to go on with what is there\n"
    )
    assert not (tmp_path / "m.csv").exists()
    done = command(*words, "--partial")
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["split", "images", "classes", "cameras"],
        ["train", "60", "3", "20"],
        ["test", "40", "2", "20"],
    ]
    assert lines[3].startswith(f"note: {str(tmp_path / 'omniglot')!r} is not the whole data set: 3 of 964 ")
    assert lines[4:] == [f"100 images, 5 classes: {tmp_path / 'm.csv'}"]
    manifest = read_manifest(tmp_path / "m.csv")
    assert [len(manifest.rows(split)) for split in ("train", "test")] == [60, 40]
    alone = command("prepare", "omniglot", tmp_path / "omniglot" / "images_background")
    assert alone.status == 2
    assert "has no folder 'images_background': pass the folder that holds" in alone.err


def test_options_that_a_layout_does_not_have_are_refused(command: Command, tmp_path: Path) -> None:
    for words, error in (
        (("folder", "--partial"), "--partial does not apply to 'folder': leave it out"),
        (("omniglot", "--boxes"), "--boxes does not apply to 'omniglot': leave it out"),
        (
            ("omniglot", "--option", "x=1"),
            "the layout 'omniglot' has no option 'x': it has none, leave it out",
        ),
        (("omniglot", "--option", "x"), "--option 'x' is not NAME=VALUE: write for example x=…"),
        (
            ("cuhk03", "--option", "splits=x"),
            "the layout 'cuhk03' has no option 'splits': did you mean 'split'?",
        ),
        (
            ("cub", "--option", "last_training_class=x"),
            "--option last_training_class=x: 'x' is not a whole number",
        ),
    ):
        done = command("prepare", words[0], tmp_path, *words[1:])
        assert (done.status, done.err) == (2, f"error: {error}\n")


def test_images_are_packed_beside_the_manifest(
    command: Command, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    images = make_images(tmp_path / "images", classes=2)
    out = tmp_path / "all.csv"
    words = ("prepare", "folder", images, "--out", out)
    done = command(*words, "--pack", "8,grey")
    assert done.status == 0
    assert done.out.splitlines()[-1].startswith("packed 12 images, 8x8,shorter,grey,bicubic: ")
    dataset = open_dataset(out)
    assert dataset.pack is not None
    assert command(*words, "--pack", "8,grey").status == 0  # nothing to do
    assert "overwrite it" in command(*words, "--pack", "9").err
    assert command(*words, "--pack", "9", "--overwrite").status == 0
    (images / "class00" / "0.png").write_bytes(b"")
    done = command(*words, "--pack", "9")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "0.png' is empty (0 bytes)" in done.err
    assert "packed 11 images" in command(*words, "--pack", "9", "--skip-unreadable").out
    out.unlink()
    assert command(*words, "--pack", "big").status == 2
    assert not out.exists()  # refused before anything is read


def test_options_of_a_layout_reach_its_reader(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "birds"
    (root / "images").mkdir(parents=True)
    for number in range(4):
        (root / "images" / str(number // 2)).mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(root / "images" / str(number // 2) / f"{number}.jpg")
    (root / "images.txt").write_text("".join(f"{n} {n // 2}/{n}.jpg\n" for n in range(4)))
    (root / "image_class_labels.txt").write_text("".join(f"{n} {n // 2}\n" for n in range(4)))
    (root / "bounding_boxes.txt").write_text("".join(f"{n} 0.0 1.0 2.0 2.0\n" for n in range(4)))
    words = ("prepare", "cub", root, "-o", tmp_path / "m.csv", "--partial", "--boxes")
    done = command(*words, "--option", "last_training_class=0")
    assert done.status == 0
    assert [line.split() for line in done.out.splitlines()[1:3]] == [
        ["train", "2", "1", "-"],
        ["test", "2", "1", "-"],
    ]
    assert read_manifest(tmp_path / "m.csv").box(0) == (0, 1, 2, 3)


def test_other_splits_are_written_and_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = {f"detected-{place:02}": {"a.jpg": "query"} for place in range(1, 10)}
    prepared = Prepared(Manifest.of_paths(tmp_path, ["a.jpg", "b.jpg"]), splits=splits)
    monkeypatch.setitem(LAYOUTS, "folder", Layout(lambda path: prepared, "some"))
    done = command("prepare", "folder", tmp_path, "-o", tmp_path / "m.csv")
    named = "9 ways to split it: detected-01, detected-02, …, detected-08, detected-09"
    assert done.out.splitlines()[-2] == named
    assert open_dataset(tmp_path / "m.csv", split_name="detected-09").manifest.splits == ("query", "")


def test_the_help_lists_every_layout(command: Command) -> None:
    out = command("prepare", "--help").out
    for name, layout in LAYOUTS.items():
        assert f"{name} " in out
        assert layout.summary in out
    assert "[images=] [split=]" in out
