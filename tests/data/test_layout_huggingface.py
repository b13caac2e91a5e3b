"""HuggingFace data sets saved to disk: manifests of them, and their images read like files."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from understudy.data.dataset import open_dataset
from understudy.data.huggingface import item_path
from understudy.data.images import UnreadableImageError, read_image
from understudy.data.layouts import LAYOUTS, Prepared
from understudy.errors import UserError

datasets: Any = pytest.importorskip("datasets")


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def noise(number: int, mode: str = "RGB", size: tuple[int, int] = (12, 9)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], bands), np.uint8)
    return Image.fromarray(pixels if bands > 1 else pixels[:, :, 0], mode)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    return encoded(noise(1), "JPEG", exif=exif)


KINDS = {
    "plain.png": encoded(noise(0), "PNG"),
    "turned.jpg": turned(),
    "cmyk.jpg": encoded(noise(2, "CMYK"), "JPEG"),
    "alpha.png": encoded(noise(3, "RGBA"), "PNG"),
    "palette.png": encoded(noise(4).quantize(8), "PNG"),
    "deep.png": encoded(Image.fromarray(np.arange(60000, 60012, dtype=np.uint16).reshape(3, 4)), "PNG"),
}


def cells(contents: list[bytes]) -> list[dict[str, Any] | None]:
    return [{"bytes": content, "path": None} for content in contents]


def columns(**more: Any) -> dict[str, Any]:
    return {"image": datasets.Image(), **more}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``birds``: every kind of image to train on, one to validate on; and a split without a name here."""
    folder = tmp_path_factory.mktemp("saved") / "birds"
    features = datasets.Features(columns(label=datasets.ClassLabel(names=["owl", "wren"])))
    labels = [0, 1, 0, 1, -1, None]

    def part(contents: list[bytes], codes: list[int | None]) -> Any:
        return datasets.Dataset.from_dict({"image": cells(list(contents)), "label": codes}, features=features)

    png = KINDS["plain.png"]
    parts = {
        "train": part(list(KINDS.values()), labels),
        "validation": part([png], [1]),
        "extra": part([png, png], [0, 0]),
    }
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def read(folder: Path, **options: Any) -> Prepared:
    return LAYOUTS["huggingface"].read(folder, **options)


def single(folder: Path, values: dict[str, Any], features: dict[str, Any], split: str | None = None) -> Path:
    datasets.Dataset.from_dict(values, features=datasets.Features(features), split=split).save_to_disk(folder)
    return folder


def test_a_dictionary_of_splits(saved: Path) -> None:
    assert LAYOUTS["huggingface"].recognises is not None
    assert LAYOUTS["huggingface"].recognises(saved)
    prepared = read(saved)
    manifest = prepared.manifest
    assert manifest.paths[:2] == ("birds#train/0", "birds#train/1")
    assert manifest.paths[6:] == ("birds#validation/0", "birds#extra/0", "birds#extra/1")
    assert manifest.splits == ("train",) * 6 + ("val", "", "")
    assert manifest.labels == ("owl", "wren", "owl", "wren", "", "", "wren", "owl", "owl")
    assert prepared.notes == ["the split 'extra' is none of ours: its rows belong to none"]


def test_every_kind_of_image_reads_as_from_its_file(saved: Path, tmp_path: Path) -> None:
    for place, (name, content) in enumerate(KINDS.items()):
        (tmp_path / name).write_bytes(content)
        for channels in (1, 3):
            file = read_image(tmp_path / name, channels=channels)
            inside = read_image(f"{saved}#train/{place}", channels=channels)
            assert (inside.mode, inside.size) == (file.mode, file.size)
            assert inside.tobytes() == file.tobytes()
    assert read_image(f"{saved}#train/1").size == (9, 12)
    assert read_image(f"{saved}#train/0", box=(1, 2, 4, 8)).size == (3, 6)


def test_a_manifest_beside_it_and_elsewhere_and_the_folder_itself(saved: Path, tmp_path: Path) -> None:
    beside, elsewhere = saved.parent / "birds.csv", tmp_path / "birds.parquet"
    read(saved).save(beside)
    read(saved).save(elsewhere)
    assert "birds#train/0,owl,train\n" in beside.read_text()
    expected = read_image(f"{saved}#train/3").tobytes()
    for reference in (beside, elsewhere, saved):
        dataset = open_dataset(reference)
        assert dataset.image(3).tobytes() == expected
        pixels = dataset.pixels([6, 0], resize=(8, 8), workers=2)
        assert pixels.tensor.shape == (2, 3, 8, 8)
        assert (pixels.tensor[0] == pixels.tensor[1]).all()


def test_threads_read_what_one_reads(saved: Path) -> None:
    paths = [f"{saved}#train/{place % 6}" for place in range(120)]
    alone = [read_image(path).tobytes() for path in paths[:6]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda path: read_image(path).tobytes(), paths))
    assert together == alone * 20


def test_single_sets_and_columns_by_choice(tmp_path: Path) -> None:
    png, other = KINDS["plain.png"], encoded(noise(9), "PNG")
    values = {
        "left": cells([png] * 3),
        "right": cells([other] * 3),
        "kind": [7, -1, None],
        "name": ["a", "", None],
    }
    features = {
        "left": datasets.Image(),
        "right": datasets.Image(),
        "kind": datasets.Value("int64"),
        "name": datasets.Value("string"),
    }
    folder = single(tmp_path / "pairs", values, features, split="test")
    with pytest.raises(
        UserError, match=r"pairs' has several image columns \(left, right\): choose one as image_"
    ):
        read(folder)
    manifest = read(folder, image_column="right", label_column="kind").manifest
    assert manifest.paths == tuple(f"pairs#{place}/right" for place in range(3))
    assert manifest.splits == ("test",) * 3
    assert manifest.labels == ("7", "", "")
    assert read_image(manifest.path(1)).tobytes() == noise(9).tobytes()
    assert read(folder, image_column="left", label_column="name").manifest.labels == ("a", "", "")
    assert read(folder, image_column="left").manifest.labels == ("", "", "")
    for options, message in (
        ({"image_column": "rigth"}, "has no image column 'rigth': did you mean 'right'"),
        ({"image_column": "kind"}, "has no image column 'kind'"),
        ({"image_column": "left", "label_column": "knd"}, "has no column 'knd': did you mean 'kind'"),
    ):
        with pytest.raises(UserError, match=message):
            read(folder, **options)
    with pytest.raises(
        UnreadableImageError, match=r"names no image column \(there are left, right\): prepare"
    ):
        read_image(f"{folder}#1")


def test_sets_without_what_is_needed(tmp_path: Path) -> None:
    png = KINDS["plain.png"]
    only = single(tmp_path / "words", {"word": ["a"]}, {"word": datasets.Value("string")})
    with pytest.raises(UserError, match=r"has no column of images \(its columns are word\): cast one"):
        read(only)
    scores = {"image": cells([png]), "label": [0.5]}
    floats = single(tmp_path / "scores", scores, columns(label=datasets.Value("float32")))
    with pytest.raises(
        UserError, match="the column 'label' holds float32 and no classes: choose a label_column"
    ):
        read(floats)
    assert read(floats, label_column="").manifest.labels == ("",)
    datasets.DatasetDict({}).save_to_disk(tmp_path / "empty")
    with pytest.raises(UserError, match="holds no images: save a data set that has some"):
        read(tmp_path / "empty")
    with pytest.raises(UserError, match="is no HuggingFace data set on disk"):
        read(tmp_path)


def point_at(file: Path, arrow: Path, place: int) -> None:
    """Puts a path in the place of an item's bytes, as the library does where a file is not at hand."""
    with pa.ipc.open_stream(arrow.read_bytes()) as reader:
        table = reader.read_all()
    rows = table.to_pylist()
    rows[place]["image"] = {"bytes": None, "path": str(file)}
    with pa.OSFile(str(arrow), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=table.schema))


def test_items_that_cannot_be_read_are_told_one_by_one(tmp_path: Path) -> None:
    file = tmp_path / "outside.png"
    file.write_bytes(KINDS["plain.png"])
    values = [*cells([b"", b"no image", KINDS["plain.png"][:60]]), None, *cells([b"path"])]
    folder = single(tmp_path / "bad", {"image": values}, columns())
    point_at(file, folder / "data-00000-of-00001.arrow", 4)
    for place, message in enumerate(
        ("is empty", "is not an image", "is truncated or corrupt", "holds no image: prepare .* or mend")
    ):
        with pytest.raises(UnreadableImageError, match=rf"bad#{place}' {message}"):
            read_image(f"{folder}#{place}")
    assert read_image(f"{folder}#4").tobytes() == noise(0).tobytes()
    file.unlink()
    with pytest.raises(UnreadableImageError, match="bad#4' does not exist"):
        read_image(f"{folder}#4")
    for name in ("5", "x", "-1", ""):
        with pytest.raises(UnreadableImageError, match="is none of 5 items"):
            read_image(f"{folder}#{name}")
    with pytest.raises(UserError, match=r"2 of 2 images cannot be read \('.*bad#0' is empty"):
        open_dataset(folder).pixels([0, 1], resize=(4, 4))


def test_a_set_that_was_saved_again_is_opened_again(tmp_path: Path) -> None:
    folder = single(tmp_path / "set", {"image": cells([KINDS["plain.png"]])}, columns())
    assert read_image(f"{folder}#0").tobytes() == noise(0).tobytes()
    shutil.rmtree(folder)
    single(folder, {"image": cells([encoded(noise(8), "PNG")])}, columns())
    assert read_image(f"{folder}#0").tobytes() == noise(8).tobytes()


def test_ordinary_files_may_have_the_mark_in_their_names(tmp_path: Path) -> None:
    (tmp_path / "c#").mkdir()
    noise(0).save(tmp_path / "c#" / "1#2.png")
    assert read_image(tmp_path / "c#" / "1#2.png").tobytes() == noise(0).tobytes()
    with pytest.raises(UnreadableImageError, match=r"c#/3#4.png' does not exist: check"):
        read_image(tmp_path / "c#" / "3#4.png")


def test_a_damaged_folder_and_a_missing_library(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(saved, tmp_path / "birds")
    (tmp_path / "birds" / "train" / "state.json").unlink()
    with pytest.raises(UserError, match="birds' is not a whole HuggingFace data set"):
        read(tmp_path / "birds")
    with pytest.raises(
        UnreadableImageError, match=r"birds#trian/0' is of an unknown split \(did you mean 'train'"
    ):
        read_image(f"{saved}#trian/0")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        UserError, match=r"library that reads it is not installed: pip install understudy\[data"
    ):
        read(saved)


def test_prepared_from_the_command_line(saved: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    out = tmp_path / "birds.csv"
    done = command("prepare", "huggingface", saved, "-o", out, "--option", "label_column=")
    assert done.status == 0, done.err
    assert "note: the split 'extra' is none of ours" in done.out
    assert "9 images, 0 classes" in done.out
    assert open_dataset(out).image(0).size == (12, 9)


def test_paths_of_items() -> None:
    assert item_path("a", "", 1) == "a#1"
    assert item_path("a", "test", 1, "photo") == "a#test/1/photo"
