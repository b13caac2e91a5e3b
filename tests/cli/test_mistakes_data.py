"""Bad images and bad tables of images, from the command line: one sentence, status 2, nothing written."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TINY = (
    *("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2),
    *("--sampler.batch-size", 8, "--sampler.images-per-class", 2),
)
TRAIN = ("train", "--model", "smallconv_8", *TINY, "--out", "run", "--data")

Command = Callable[..., Any]
Refused = Callable[..., str]
Tree = Callable[[Path], dict[str, bytes | None]]

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def images(taught: Path, here: Path) -> Path:
    """A copy of the shared images that a test may spoil; named relative to where the command runs."""
    shutil.copytree(taught / "images", here / "images")
    return Path("images")


def table(*lines: str) -> str:
    Path("items.csv").write_text("\n".join(lines) + "\n")
    return "items.csv"


COMMANDS = [
    pytest.param(lambda data, _: (*TRAIN, data), id="train"),
    pytest.param(lambda data, model: ("embed", model, data), id="embed"),
    pytest.param(lambda data, model: ("evaluate", model, data), id="evaluate"),
    pytest.param(
        lambda data, model: (
            *("distill", "--data", data, "--teacher", model, "--student", "smallconv_8"),
            *(*TINY, "--out", "run"),
        ),
        id="distill",
    ),
]
Words = Callable[[object, object], tuple[object, ...]]


@pytest.fixture
def model(taught: Path) -> Path:
    return taught / "teacher" / "model"


@pytest.mark.parametrize("words", COMMANDS)
def test_a_folder_that_is_not_there(refused: Refused, model: Path, words: Words) -> None:
    assert refused(*words("nowhere/photos", model)).startswith(
        "'nowhere/photos' is neither a manifest (.csv, .parquet) nor a folder nor a data set"
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_an_empty_folder(refused: Refused, model: Path, words: Words) -> None:
    Path("photos").mkdir()
    assert refused(*words("photos", model)) == (
        "'photos' holds no images: put some into it or pass another folder"
    )


@pytest.mark.parametrize("words", COMMANDS)
def test_a_corrupt_image(refused: Refused, images: Path, model: Path, words: Words) -> None:
    (images / "class03" / "2.png").write_bytes(b"these are no pixels")
    sentence = refused(*words(images, model))
    assert "images/class03/2.png' is not an image" in sentence
    assert "skip" in sentence


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_a_truncated_image(refused: Refused, images: Path, ending: str) -> None:
    generator = np.random.default_rng(0)
    place = images / "class03" / f"half.{ending}"
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(place)
    place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])
    assert f"images/class03/half.{ending}' is " in refused(*TRAIN, images)


def test_a_file_of_no_bytes(refused: Refused, images: Path) -> None:
    (images / "class03" / "2.png").write_bytes(b"")
    assert "images/class03/2.png' is empty (0 bytes)" in refused(*TRAIN, images)


def test_many_bad_images_are_still_one_sentence(refused: Refused, images: Path) -> None:
    for place in images.rglob("*.png"):
        place.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert refused(*TRAIN, images).startswith("48 of 48 images cannot be read ('images/class00/0.png' is ")


def test_bad_images_are_left_out_when_that_is_asked_for(command: Command, images: Path, model: Path) -> None:
    (images / "class03" / "2.png").write_bytes(b"these are no pixels")
    outcome = command("embed", model, images, "--skip-unreadable", "--out", "vectors")
    assert (outcome.status, outcome.out) == (0, "47 vectors of dimension 12: vectors\n")
    assert command(*TRAIN, images, "--data.skip-unreadable", "true").status == 0
    assert command("evaluate", model, images, "--skip-unreadable").status == 0


def test_skipping_every_image_is_refused(refused: Refused, images: Path) -> None:
    for place in images.rglob("*.png"):
        place.write_bytes(b"")
    sentence = refused(*TRAIN, images, "--data.skip-unreadable", "true")
    assert sentence.startswith("not one of 48 images can be read: 'images/class00/0.png' is empty")


def test_an_image_of_one_pixel_is_an_image(command: Command, images: Path, model: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(images / "class03" / "2.png")
    assert command(*TRAIN, images).status == 0
    assert "48 vectors" in command("embed", model, images).out


def test_images_of_every_kind_in_one_folder(command: Command, images: Path, model: Path) -> None:
    size = (16, 16)
    place = images / "class03"
    Image.new("L", size, 90).save(place / "grey.png")
    Image.new("1", size, 1).save(place / "bits.png")
    Image.new("P", size, 3).save(place / "palette.gif")
    Image.new("CMYK", size, (10, 20, 30, 40)).save(place / "cmyk.jpg")
    Image.fromarray(np.full(size, 40000, dtype=np.uint16)).save(place / "wide.png")
    Image.fromarray(np.full(size, 40000, dtype=np.uint16)).save(place / "wide.tif")
    Image.new("LA", size, (90, 30)).save(place / "grey-alpha.png")
    Image.new("RGBA", size, (90, 30, 5, 0)).save(place / "alpha.png")
    palette = Image.new("P", size, 0)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.save(place / "palette-alpha.png", transparency=0)
    assert command(*TRAIN, images).status == 0
    assert "57 vectors" in command("embed", model, images).out


@pytest.mark.parametrize(("header", "missing"), [("path,split", "label"), ("path,label", "split")])
def test_a_manifest_without_a_column(refused: Refused, images: Path, header: str, missing: str) -> None:
    row = f"{images / 'class00' / '0.png'},train"
    assert f"'items.csv' has no column '{missing}'" in refused(*TRAIN, table(header, row))


def test_a_manifest_with_a_misspelt_column(refused: Refused) -> None:
    assert "'items.csv' has no column 'label'" in (
        sentence := refused(*TRAIN, table("path,lable,split", "a.png,x,train"))
    )
    assert sentence.endswith("rename 'lable'")


def test_a_manifest_with_an_unknown_split(refused: Refused) -> None:
    sentence = refused(*TRAIN, table("path,label,split", "a.png,x,train", "b.png,x,trian"))
    assert sentence == "'items.csv', line 3, split: 'trian' is not a split: did you mean 'train'?"


def test_a_manifest_with_a_path_twice(refused: Refused) -> None:
    sentence = refused(*TRAIN, table("path,label,split", "a.png,x,train", "a.png,y,train"))
    assert sentence == "'items.csv', line 3, path: 'a.png' is there already in line 2: keep one of the two"


def test_a_manifest_with_a_file_that_is_not_there(refused: Refused, images: Path) -> None:
    rows = [
        f"{images / f'class0{label}' / f'{item}.png'},{label},train" for label in range(4) for item in "01"
    ]
    assert "gone.png' does not exist" in refused(*TRAIN, table("path,label,split", *rows, "gone.png,3,train"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "'items.csv' is empty"),
        (b"path,label,split\n", "'items.csv' has a header and no rows"),
        (b"path,label,split\na.png,x\n", "'items.csv', line 2: 2 fields under 3 columns"),
        (b"path,label,split\n\xff\xfe.png,x,train\n", "'items.csv' is not UTF-8 text"),
    ],
)
def test_a_manifest_that_is_no_table(refused: Refused, content: bytes, says: str) -> None:
    Path("items.csv").write_bytes(content)
    assert says in refused(*TRAIN, "items.csv")


HEAD = "path,label,split\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label,split,box\na.png,x,train,1 2 3\n", "'1 2 3' is not four whole numbers"),
        (HEAD + "a.png,x,test\nb.png,x,test\n", "'m.csv' has no training images: check its `split` column"),
        (
            "text,label,split\nhello,x,train\nyou,x,train\nwe,y,val\nus,y,val\n",
            "holds texts, and 'smallconv_8' embeds images",
        ),
        (
            HEAD + "".join(f"{n}.png,{n // 4},train\n" for n in range(12)),
            r"12 of 12 images cannot be read \('0.png' does not exist; .* and 9 more\): mend or remove them",
        ),
    ],
)
def test_a_manifest_with_a_mistake(refused: Refused, text: str, says: str) -> None:
    Path("m.csv").write_text(text)
    assert re.search(says, refused(*TRAIN, "m.csv"))


def test_a_parquet_manifest_that_is_none(refused: Refused) -> None:
    Path("items.parquet").write_bytes(b"PAR1 no")
    assert "'items.parquet' is not a Parquet file" in refused(*TRAIN, "items.parquet")


def test_images_beside_a_folder_named_after_a_split(refused: Refused, images: Path) -> None:
    shutil.copytree(images / "class00", images / "train" / "class00")
    assert "holds images in a folder named after a split" in refused(*TRAIN, images)


def test_a_class_with_one_image_is_left_out(command: Command, make_images: Callable[..., Path]) -> None:
    data = make_images(Path("split"), 3, 3, splits=("train", "test"))
    (data / "train" / "lonely").mkdir()
    Image.new("L", (16, 16), 7).save(data / "train" / "lonely" / "0.png")
    assert command(*TRAIN, data, "--data.val-fraction", 0).status == 0
    # room for four classes of two images, and only three have two
    assert json.loads(Path("run/summary.json").read_text())["batch_size"] == 6


def test_classes_of_one_image_each(refused: Refused, make_images: Callable[..., Path]) -> None:
    data = make_images(Path("lonely"), 8, 1)
    assert "no class has two " in refused(*TRAIN, data)


def test_more_images_of_a_class_than_any_has(refused: Refused, images: Path) -> None:
    words = (*TRAIN, images, "--sampler.images-per-class", 7, "--sampler.batch-size", 14)
    assert (
        refused(*words) == "images_per_class is 7 but the largest class has 6 image(s): make it 6 or smaller"
    )


def test_labels_are_missing_where_a_loss_needs_them(
    refused: Refused, make_images: Callable[..., Path]
) -> None:
    flat = make_images(Path("flat"), 1, 6) / "class00"
    assert "there is nothing to learn from: no loss on labels" in refused(*TRAIN, flat)
    assert "'multi_similarity' needs labels" in refused(*TRAIN, flat, "--supervised", "multi_similarity")


def test_a_split_that_the_data_has_not(refused: Refused, images: Path, model: Path) -> None:
    for verb in ("evaluate", "embed"):
        assert refused(verb, model, images, "--split", "test") == (
            "'images' has no images in the split 'test': pass another --split"
        )
        assert refused(verb, model, images, "--split", "tets") == (
            "'tets' is not a split: did you mean 'test'?"
        )


def test_a_table_that_exists_is_not_written_over(
    command: Command, refused: Refused, images: Path, model: Path
) -> None:
    assert command("embed", model, images, "--out", "vectors").status == 0
    sentence = refused("embed", model, images, "--out", "vectors", "--dtype", "float16")
    assert sentence.startswith("'vectors' holds a table of something else (the type of number: ")
    Path("other").mkdir()
    Path("other", "mine.txt").write_text("mine")
    assert "'other' exists already" in refused("embed", model, images, "--out", "other")


def test_a_table_that_lacks_some_of_the_images(
    command: Command, refused: Refused, images: Path, model: Path
) -> None:
    assert command("embed", model, images, "--out", "vectors").status == 0
    shutil.copy(images / "class00" / "0.png", images / "class00" / "new.png")
    assert "class00/new.png" in refused("evaluate", "vectors", images)


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("words", "file"),
    [
        ((*TRAIN, "images"), "run/config.yaml"),
        (("embed", "MODEL", "images", "--out", "vectors"), "vectors/ids.parquet"),
        (("prepare", "folder", "images", "--out", "made.csv"), "made.csv"),
        (("prepare", "folder", "images", "--out", "made.parquet"), "made.parquet"),
    ],
)
@pytest.mark.usefixtures("images")
def test_no_space(
    refused: Refused, model: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], file: str
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    sentence = refused(*(model if word == "MODEL" else word for word in words))
    assert sentence.startswith(f"no space left while writing '{file}': free some space")


def test_no_space_for_a_report(
    command: Command, tree: Tree, here: Path, images: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(here)
    monkeypatch.setattr(os, "fsync", full)
    outcome = command("evaluate", model, images, "--out", "report.json")  # its figures may be on the screen
    assert outcome.status == 2
    assert outcome.err.startswith("error: no space left while writing 'report.json': free some space")
    assert len(outcome.err.splitlines()) == 1
    assert tree(here) == before


def test_no_space_for_a_checkpoint_keeps_the_one_before(
    command: Command, here: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*TRAIN, images, "--checkpoint-every", 1)
    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda it: full(it) if [*here.glob("run/checkpoints/*.pt")] else real(it))
        outcome = command(*words)
    assert outcome.status == 2
    assert outcome.err.startswith("error: no space left while writing 'run/checkpoints/step-00000002.pt'")
    assert len(outcome.err.splitlines()) == 1
    assert sorted(path.name for path in Path("run").rglob("*")) == [
        *("checkpoints", "config.yaml", "metrics.jsonl", "step-00000001.pt")
    ]
    assert command(*words, "--resume").status == 0
    assert Path("run/summary.json").is_file()


def test_a_layout_that_is_unknown(refused: Refused) -> None:
    assert refused("prepare", "omnigolt", "images") == (
        "there is no data-set layout named 'omnigolt': did you mean 'omniglot'?"
    )
