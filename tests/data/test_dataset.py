"""Data sets by name, manifest or folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.dataset import Dataset, open_dataset
from understudy.data.manifest import Manifest
from understudy.data.protocol import write_split
from understudy.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        path = tmp_path / "photos" / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 9), (10 * number, 0, 0)).save(path)
    return tmp_path / "photos"


def test_a_folder_a_manifest_file_and_a_manifest_are_the_same_data(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert dataset.name == "photos"
    assert dataset.shape is None
    dataset.manifest.save(folder.parent / "m.csv")
    from_file = open_dataset(str(folder.parent / "m.csv"))
    assert from_file.name == "m"
    assert from_file.manifest.labels == dataset.manifest.labels
    from_memory = open_dataset(dataset.manifest)
    for other in (from_file, from_memory):
        pixels = other.pixels(resize=(4, 4))
        assert torch.equal(pixels.tensor, dataset.pixels(resize=(4, 4)).tensor)
        assert pixels.rows.tolist() == list(range(6))


def test_pixels_of_some_rows_keep_their_numbers(folder: Path) -> None:
    dataset = open_dataset(folder)
    rows = dataset.manifest.rows("train")[[5, 1]]
    pixels = dataset.pixels(rows, resize=(4, 4))
    assert pixels.rows.tolist() == [5, 1]
    for row in (1, 5):
        number = int(Path(dataset.manifest.paths[row]).stem)
        assert pixels.gather(torch.tensor([row]))[0, 0, 0, 0] == 10 * number
        assert dataset.image(row).getpixel((0, 0)) == (10 * number, 0, 0)
        assert dataset.image(row, channels=1).mode == "L"


def test_boxes_are_honoured(tmp_path: Path) -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    image[5:15, 2:12] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    (tmp_path / "m.csv").write_text("path,label,split,box\na.png,x,train,2 5 12 15\n")
    dataset = open_dataset(tmp_path / "m.csv")
    assert (dataset.pixels(resize=(6, 6)).tensor == 200).all()
    (tmp_path / "m.csv").write_text("path,label,split,box\na.png,x,train,2 5 12 21\n")
    with pytest.raises(UserError, match=r"a.png' has 20 × 20 pixels and not the box 2 5 12 21"):
        open_dataset(tmp_path / "m.csv").pixels(resize=(6, 6))


def test_unreadable_files_are_listed_or_skipped(folder: Path) -> None:
    (folder / "class0" / "2.png").write_bytes(b"")
    (folder / "class1" / "1.png").write_bytes(b"text")
    dataset = open_dataset(folder)
    with pytest.raises(
        UserError, match=r"2 of 6 images cannot be read \('.*2.png' is empty \(0 bytes\); '.*1.png' is"
    ):
        dataset.pixels(resize=(4, 4))
    kept = dataset.pixels(resize=(4, 4), skip_unreadable=True)
    assert [dataset.manifest.paths[row][-5:] for row in kept.rows.tolist()] == [
        "0.png",
        "4.png",
        "3.png",
        "5.png",
    ]


def test_embedded_images_are_taken_as_they_are_or_resized() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    dataset = Dataset("tiny", Manifest.of_paths("tiny", ["a", "b", "c"]), embedded=images)
    assert dataset.shape == (1, 8, 8)
    pixels = dataset.pixels([2, 0], resize=(8, 8), channels=1)
    assert np.array_equal(pixels.tensor.numpy(), images[[2, 0]])
    pixels.tensor.zero_()
    assert images.any()  # a copy
    colour = dataset.pixels([2, 0], resize=(8, 8), channels=3)
    assert np.array_equal(colour.tensor.numpy(), images[[2, 0]].repeat(3, axis=1))
    small = dataset.pixels(resize=(4, 4), mode="squash", channels=1, interpolation="bilinear")
    reference = Image.fromarray(images[1, 0]).resize((4, 4), Image.Resampling.BILINEAR)
    assert np.array_equal(small.gather(torch.tensor([1]))[0, 0].numpy(), np.asarray(reference))
    assert np.array_equal(np.asarray(dataset.image(1, channels=1)), images[1, 0])


def test_texts_have_no_pixels(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("text,label,split\nhello,x,train\n")
    dataset = open_dataset(tmp_path / "m.csv")
    with pytest.raises(UserError, match="the items of 'm' are texts"):
        dataset.pixels(resize=(4, 4))


def test_references_that_lead_nowhere_say_what_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'typeface' is neither a manifest .* did you mean 'typefaces'\?"):
        open_dataset("typeface")
    with pytest.raises(UserError, match=r"'.*photos' is neither a manifest .* known are typefaces"):
        open_dataset(tmp_path / "photos")
    with pytest.raises(UserError, match=r"the manifest '.*m.csv' does not exist"):
        open_dataset(tmp_path / "m.csv")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="ends in neither"):
        open_dataset(tmp_path / "notes.txt")
    with pytest.raises(UserError, match="holds no images"):
        open_dataset(tmp_path)


def test_omniglots_folders_are_recognised(tmp_path: Path) -> None:
    for part in ("images_background", "images_evaluation"):
        (tmp_path / part).mkdir()
    with pytest.raises(UserError, match=r"0 of 964 characters in images_background \(964 missing\)"):
        open_dataset(tmp_path)


def test_a_split_that_is_not_there_is_refused(folder: Path) -> None:
    for reference in (folder, open_dataset(folder).manifest, "typefaces"):
        with pytest.raises(UserError, match="has no split named 'other': it has none, leave the name out"):
            open_dataset(reference, split_name="other")
    manifest = open_dataset(folder).manifest
    write_split({manifest.ids[0]: "val"}, folder.parent / "m.csv", "detected-01")
    manifest.save(folder.parent / "m.csv")
    assert open_dataset(folder.parent / "m.csv", split_name="detected-01").manifest.splits.count("val") == 1
    with pytest.raises(UserError, match=r"no split named 'detected-1': did you mean 'detected-01'\?"):
        open_dataset(folder.parent / "m.csv", split_name="detected-1")
