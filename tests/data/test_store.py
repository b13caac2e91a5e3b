"""The packed store: the pixels of direct decoding to the bit, used where it fits, else refused."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.dataset import Dataset, open_dataset
from understudy.data.manifest import Manifest
from understudy.data.store import Form, Store, default_place, pack, parse_size
from understudy.errors import UserError

GREY: dict[str, Any] = {"resize": (64, 64), "channels": 1}  # 4 images of 4096 bytes fill a page
FORMS = [Form((64, 64), "shorter", 1), Form((61, 37), "squash", 3, "lanczos"), Form((128, 128))]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A manifest of 11 images of every kind, one with a box."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["path,label,split,box"]
    for number in range(11):
        noise = generator.integers(0, 256, (40 + 7 * number, 90, 4), dtype=np.uint8)
        kind = ("RGB", "L", "CMYK", "P", "RGBA", "I;16")[number % 6]
        if kind == "I;16":
            image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
        else:
            image = Image.fromarray(noise[..., :3]).convert(kind)
        ending = "jpg" if kind in ("RGB", "CMYK", "L") else "png"
        exif = Image.Exif()
        exif[0x0112] = 6  # lies on its side
        image.save(folder / f"{number}.{ending}", exif=exif if number == 6 else Image.Exif())
        lines.append(f"photos/{number}.{ending},c{number % 3},train,{'5 6 35 30' if number == 8 else ''}")
    manifest = tmp_path / "m.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def decoded(manifest: Path, form: Form, rows: Any = None) -> torch.Tensor:
    return replace(open_dataset(manifest), pack=None).pixels(rows, **form._asdict()).tensor


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_pixels_are_those_of_direct_decoding(
    photos: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, order = decoded(photos, form), np.array([9, 0, 8, 3])
    store = pack(photos, **form._asdict(), shard_bytes=1)
    assert store.place == default_place(photos)
    assert (len(store), len(store.facts["shards"])) == (
        11,
        11 if form.resize == (128, 128) else 3 - 2 * (form.line % 4096 != 0),
    )
    monkeypatch.setattr("understudy.data.dataset.decode_all", lambda *_, **__: pytest.fail("decoded"))
    pixels = open_dataset(photos).pixels(order, **form._asdict())
    assert pixels.rows.tolist() == order.tolist()
    assert pixels.shape == form.shape
    assert torch.equal(pixels.tensor, direct[order])
    assert torch.equal(pixels.gather(torch.tensor([3, 3, 9])), direct[[3, 3, 9]])
    assert torch.equal(store.pixels().tensor, direct)
    with pytest.raises((IndexError, RuntimeError)):
        pixels.gather(torch.tensor([4]))  # packed, but not among the rows asked for
    whole = np.concatenate([np.fromfile(store.place / s["file"], np.uint8) for s in store.facts["shards"]])
    lines = whole.reshape(11, form.line)[:, : direct[0].numel()]
    assert np.array_equal(lines, direct.flatten(1).numpy())
    store.verify(open_dataset(photos).manifest)


def test_a_folder_has_its_store_beside_it_and_a_manifest_of_some_rows_finds_them(photos: Path) -> None:
    folder = photos.parent / "photos"
    store = pack(folder, **GREY)
    assert store.place == folder.parent / "photos.pack"
    assert open_dataset(str(folder)).pack == store.place
    assert open_dataset(photos).pack is None
    some = Manifest.of_paths(folder, ["3.png", "1.jpg"])
    direct, said = Dataset("some", some).pixels(**GREY), list[str]()
    assert torch.equal(
        Dataset("some", some, pack=store.place).pixels(**GREY, say=said.append).tensor, direct.tensor
    )
    assert not said


def test_a_store_that_does_not_fit_is_left_alone_in_one_line(photos: Path) -> None:
    place = pack(photos, **GREY).place
    said: list[str] = []
    other = Form((48, 64), "squash", 1)
    pixels = open_dataset(photos).pixels(**other._asdict(), say=said.append)
    assert torch.equal(pixels.tensor, decoded(photos, other))
    dataset = open_dataset(photos)
    paths = dataset.manifest.paths
    moved = replace(
        dataset.manifest, paths=(*paths[:4], paths[3], *paths[5:])
    )  # the id is known, not the file
    pixels = replace(dataset, manifest=moved).pixels(**GREY, say=said.append)
    assert torch.equal(pixels.tensor[4], pixels.tensor[3])
    (place / "store.json").unlink()
    dataset.pixels([1], **GREY, say=said.append)
    name = str(place)
    assert said == [
        f"'{name}' holds {Form(**GREY)} and {other} is wanted: images are decoded from their files",
        f"'{name}' lacks 1 of 11 images: they are decoded from their files",
        f"'{name}' is not finished: images are decoded from their files",
    ]


def test_a_changed_file_is_refused_and_its_shard_alone_done_again(photos: Path) -> None:
    place = pack(photos, **GREY, shard_bytes=1).place
    before = {path.name: path.stat().st_mtime_ns for path in place.glob("*.u8")}
    changed = photos.parent / "photos" / "5.png"
    Image.new("RGB", (70, 70), "red").save(changed)
    dataset = open_dataset(photos)
    with pytest.raises(UserError) as caught:
        dataset.pixels(**GREY)
    assert str(caught.value) == (
        f"1 of 11 image files have changed since they were packed into '{place}' ('{changed}' is the first): "
        "pack it again, or remove the pack"
    )
    assert len(dataset.pixels([0, 10], **GREY)) == 2  # of files that have not changed
    assert len(pack(photos, **GREY, shard_bytes=1)) == 11
    assert torch.equal(dataset.pixels(**GREY).tensor, decoded(photos, Form(**GREY)))
    after = {path.name: path.stat().st_mtime_ns for path in place.glob("*.u8")}
    assert [before[name] == after[name] for name in sorted(before)] == [True, False, True]
    os.utime(changed, ns=(1, 1))
    with pytest.raises(UserError, match="1 of 11 image files have changed"):
        dataset.pixels(**GREY)
    direct, said = decoded(photos, Form(**GREY)), list[str]()
    changed.unlink()
    assert torch.equal(dataset.pixels(**GREY, say=said.append).tensor, direct)
    assert said == [f"1 of 11 image files are gone: '{place}' still holds their pixels"]


def test_a_store_by_another_pillow_says_so(photos: Path) -> None:
    place, said = pack(photos, **GREY).place, list[str]()
    facts = json.loads((place / "store.json").read_text())
    facts["versions"]["pillow"] = "1.7.8"
    (place / "store.json").write_text(json.dumps(facts))
    open_dataset(photos).pixels(**GREY, say=said.append)
    assert said[0].startswith(f"'{place}' was packed by Pillow 1.7.8: ")
    assert len(said) == 1


def test_packing_again_does_nothing_when_nothing_changed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pack(photos, **GREY).place
    before = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    monkeypatch.setattr("understudy.data.store.packing.write_shards", lambda *_, **__: pytest.fail("wrote"))
    assert len(pack(photos, **GREY)) == 11
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == before


def test_unreadable_files_are_all_listed_and_nothing_is_decoded_twice(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = photos.parent / "photos", photos.parent / "m.pack"
    whole = (folder / "9.png").read_bytes()
    for number, content in ((1, b""), (3, b"text"), (7, b""), (9, whole[:50])):
        next(folder.glob(f"{number}.*")).write_bytes(content)
    with pytest.raises(
        UserError, match=r"4 of 11 images cannot be read \('.*1.jpg' is empty .* 1 more\)"
    ) as no:
        pack(photos, **GREY, shard_bytes=1)
    assert str(no.value).endswith(f"; all are listed in '{place / 'unreadable.csv'}'")
    with (place / "unreadable.csv").open() as file:
        listed = list(csv.DictReader(file))
    assert [line["file"] for line in listed] == [
        f"photos/{name}" for name in ("1.jpg", "3.png", "7.jpg", "9.png")
    ]
    assert listed[3]["reason"].startswith(f"'{folder / '9.png'}' is truncated or corrupt")
    read: list[int] = []
    image = Dataset.image

    def counted(self: Dataset, row: int, channels: int = 3) -> Image.Image:
        read.append(row)
        return image(self, row, channels)

    monkeypatch.setattr(Dataset, "image", counted)
    said: list[str] = []
    store = pack(photos, **GREY, shard_bytes=1, skip_unreadable=True, say=said.append)
    assert (len(store), read) == (7, [])
    assert said[0].endswith("and are left out")
    dataset = open_dataset(photos)
    with pytest.raises(UserError, match="4 of 11 images cannot be read"):
        dataset.pixels(**GREY)
    kept = dataset.pixels(**GREY, skip_unreadable=True)
    direct = replace(dataset, pack=None).pixels(**GREY, skip_unreadable=True)
    assert kept.rows.tolist() == direct.rows.tolist()
    assert torch.equal(kept.tensor, direct.tensor)
    assert torch.equal(store.pixels().tensor, direct.tensor)
    read.clear()
    (folder / "9.png").write_bytes(whole)  # mended
    assert len(pack(photos, **GREY, shard_bytes=1, skip_unreadable=True)) == 8
    assert sorted(read) == [8, 9, 10]
    with pytest.raises(UserError, match="3 of 11 images cannot be read"):
        pack(photos, **GREY, shard_bytes=1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: next(p.glob("*.u8")).write_bytes(b"1"), r"'.*\.u8' has 1 of 16384 bytes \(truncated\?\)"),
        (lambda p: sorted(p.glob("*.u8"))[1].unlink(), r"'.*00001-.*\.u8' is missing"),
        (lambda p: (p / "index.parquet").unlink(), r"'.*index.parquet' is missing"),
        (lambda p: (p / "index.parquet").write_bytes(b"PAR1"), "is damaged or belongs to another pack"),
        (lambda p: (p / "store.json").unlink(), "is not finished"),
        (lambda p: (p / "store.json").write_text("{"), "is damaged"),
        (
            lambda p: (p / "store.json").write_text(json.dumps({"format": 9})),
            "of format 9, and this .* reads 1",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused_and_packing_again_mends_them(
    photos: Path, spoil: Callable[[Path], Any], sentence: str
) -> None:
    place = pack(photos, **GREY, shard_bytes=1).place
    whole = contents(place)
    spoil(place)
    with pytest.raises(UserError, match=f"{sentence}.*: (remove (the pack|it) and )?pack it again"):
        Store.open(place)
    pack(
        photos,
        **GREY,
        shard_bytes=1,
        overwrite="remove" in sentence or "damaged" in sentence or "9" in sentence,
    )
    assert contents(place) == whole


def test_verifying_finds_a_flipped_bit_and_a_changed_file_with_its_old_time(photos: Path) -> None:
    store = pack(photos, **GREY, shard_bytes=1)
    manifest = open_dataset(photos).manifest
    path = photos.parent / "photos" / "2.jpg"
    old, times = bytearray(path.read_bytes()), path.stat()
    old[-9] ^= 1
    path.write_bytes(old)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    store.verify()
    with pytest.raises(UserError, match=r"'.*2.jpg' is not the file that was packed: pack it again"):
        store.verify(manifest)
    shard = store.place / store.facts["shards"][1]["file"]
    flipped = bytearray(shard.read_bytes())
    flipped[77] ^= 8
    shard.write_bytes(flipped)
    with pytest.raises(UserError, match=r"'.*00001-.*u8' is damaged \(its checksum differs\)"):
        store.verify()


def test_a_place_that_is_taken_is_refused(photos: Path, tmp_path: Path) -> None:
    place = pack(photos, **GREY).place
    with pytest.raises(UserError, match=r"m.pack' holds a pack \(64x64,shorter,grey,bicubic\) of other"):
        pack(photos, resize=(32, 32))
    assert len(Store.open(place)) == 11
    assert pack(photos, resize=(32, 32), overwrite=True).form == Form((32, 32))
    assert len(list(place.glob("*.u8"))) == 1
    with pytest.raises(UserError, match=r"photos' holds '0.jpg' and is no pack: pass another place"):
        pack(photos, photos.parent / "photos", **GREY)
    with pytest.raises(UserError, match=r"'m.csv' and is no pack"):
        pack(photos, photos, **GREY)


def test_what_cannot_be_packed_says_so(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'typefaces' holds its images decoded"):
        pack("typefaces", tmp_path / "x", **GREY)
    with pytest.raises(UserError, match="pass `out`"):
        pack(open_dataset(photos), **GREY)
    (tmp_path / "t.csv").write_text("text,label,split\nhello,x,train\n")
    with pytest.raises(UserError, match="only images can be packed"):
        pack(tmp_path / "t.csv", **GREY)
    with pytest.raises(UserError, match=r"there is no pack at '.*nowhere': check the path"):
        Store.open(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("large", "'large' is not a size to pack at: write one side, such as 224, or"),
        ("224x", "is not a size"),
        ("0", "is not a size"),
        ("64x0", "is not a size"),
        ("224,gray", "has a word 'gray' behind the size: did you mean 'grey'"),
    ],
)
def test_sizes_that_are_none(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        parse_size(text)


def test_forms_are_read_as_they_are_written() -> None:
    assert parse_size("40 , Grey,lanczos,squash") == Form((40, 40), "squash", 1, "lanczos")
    for form in FORMS:
        assert parse_size(str(form)) == form


def test_progress_counts_all_images_and_begins_where_the_last_run_ended(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        ticks.append((done, total))
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(photos, **GREY, shard_bytes=1, progress=stop)
    assert ticks == [(4, 11), (8, 11)]
    ticks.clear()
    pack(photos, **GREY, shard_bytes=1, progress=lambda *tick: ticks.append(tick))
    assert ticks == [(8, 11), (11, 11)]


def test_images_without_files_of_their_own_are_known_by_their_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the items of a HuggingFace data set."""
    items = {f"birds#train/{number}": Image.new("L", (9, 9), 40 * number) for number in range(3)}

    def read(path: Path, **_: Any) -> Image.Image:
        return items[path.relative_to(tmp_path).as_posix()]

    for module in ("dataset", "store.opening"):
        monkeypatch.setattr(f"understudy.data.{module}.read_image", read)
    dataset = Dataset("birds", Manifest.of_paths(tmp_path, list(items)))
    store = pack(dataset, tmp_path / "birds.pack", **GREY)
    said: list[str] = []
    packed = replace(dataset, pack=store.place).pixels([2, 0], **GREY, say=said.append)
    assert packed.tensor[:, 0, 0, 0].tolist() == [80, 0]
    assert not said
    store.verify(dataset.manifest)
    items["birds#train/1"] = Image.new("L", (9, 9), 41)
    with pytest.raises(UserError, match=r"birds#train/1' is not the file that was packed"):
        store.verify(dataset.manifest)
