"""The embedded data set: what is in it, how it is drawn, and its cache."""

from __future__ import annotations

import multiprocessing
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.data import typefaces as module
from understudy.data.dataset import Dataset
from understudy.data.typefaces import SPLIT_OF_SCRIPT, TYPEFACES, script, select, typefaces
from understudy.errors import UserError

SOME = [*range(0x41, 0x5B), 0xE8, 0xE9, 0xEA, 0x416, 0x3A9, 0x1F71, 0x3AC, 0x2800, 0x21D2, 0x27FA, 0x2031]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some characters only, so that drawing takes no time."""
    monkeypatch.setattr(module, "select", lambda coverage: [c for c in select(coverage) if c in SOME])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return typefaces(cache=tmp_path_factory.mktemp("cache"))


def character_of(label: str) -> str:
    return chr(int(label.partition("+")[2], 16))


def by_path(dataset: Dataset, path: str) -> np.ndarray:
    assert dataset.embedded is not None
    image: np.ndarray = dataset.embedded[dataset.manifest.paths.index(path), 0]
    return image


@pytest.mark.slow
def test_the_counts_of_the_data_set(whole: Dataset) -> None:
    manifest = whole.manifest
    assert len(TYPEFACES) == 14
    assert (len(manifest), len(manifest.classes)) == (36_074, 3_088)
    assert Counter(manifest.splits) == {"": 15_878, "train": 14_030, "test": 6_166}
    assert len({manifest.labels[row] for row in manifest.rows("train")}) == 1_164
    assert len({manifest.labels[row] for row in manifest.rows("test")}) == 511 + 20
    characters = [character_of(name) for name in manifest.classes]
    scripts = Counter(map(script, characters))
    assert {name: scripts[name] for name in SPLIT_OF_SCRIPT} == {
        "LATIN": 939,
        "CYRILLIC": 225,
        "GREEK": 345,
        "GEORGIAN": 120,
        "ARMENIAN": 86,
    }
    assert min(Counter(manifest.labels).values()) >= 7  # one character is blank in one of its eight typefaces
    assert max(Counter(manifest.labels).values()) == 14
    assert manifest.cameras is not None
    assert set(manifest.cameras) == set(TYPEFACES)


@pytest.mark.slow
def test_scripts_never_seen_are_for_testing(whole: Dataset) -> None:
    manifest = whole.manifest
    seen = {split: {manifest.labels[row] for row in manifest.rows(split)} for split in ("train", "test")}
    assert not seen["train"] & seen["test"]
    for split, names in seen.items():
        for name in names:
            character = character_of(name)
            assert SPLIT_OF_SCRIPT[script(character)] == split
            assert unicodedata.normalize("NFC", character) == character


@pytest.mark.slow
def test_no_drawing_is_blank_or_cut(whole: Dataset) -> None:
    assert whole.embedded is not None
    images = whole.embedded[:, 0]
    assert images.shape == (36_074, 40, 40)
    assert (images.min(axis=(1, 2)) < 200).all()
    for border in (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]):
        assert (border == 255).all()


@pytest.mark.slow
def test_few_test_images_have_a_twin_of_another_class(whole: Dataset) -> None:
    """Recall@1 on the test scripts can reach at least 99.5 %."""
    assert whole.embedded is not None
    groups: dict[bytes, set[str]] = {}
    rows = whole.manifest.rows("test")
    for row in rows:
        groups.setdefault(whole.embedded[row].tobytes(), set()).add(whole.manifest.labels[row])
    twins = sum(len(groups[whole.embedded[row].tobytes()]) > 1 for row in rows)
    assert twins < 0.005 * len(rows)


def test_only_visible_characters_of_their_own_shape_are_selected() -> None:
    kept = {"A", "é", "я", "1", "½", ",", "+", "€", "→"}
    dropped = {" ", "\u0301", "´", "Ⅳ", "\u200b", "\ue000", "\n", "\xad"}
    coverage = [{ord(character) for character in kept | dropped}] * 8
    assert set(map(chr, select(coverage))) == kept
    assert select(coverage[:7]) == []


@pytest.mark.usefixtures("few")
def test_names_of_rows_classes_and_cameras(tmp_path: Path) -> None:
    dataset = typefaces(cache=tmp_path)
    manifest = dataset.manifest
    place = manifest.paths.index("U+00E9/DejaVuSerif-Bold")
    assert manifest.labels[place] == "U+00E9"
    assert manifest.splits[place] == "train"
    assert manifest.cameras is not None
    assert manifest.cameras[place] == "DejaVuSerif-Bold"
    split_of = dict(zip(manifest.labels, manifest.splits, strict=True))
    assert split_of["U+03A9"] == split_of["U+03AC"] == "test"
    assert split_of["U+1F71"] == ""  # by definition the same as U+03AC
    assert split_of["U+21D2"] == ""
    assert "U+2800" not in split_of  # blank
    assert dataset.shape == (1, 40, 40)
    assert torch.equal(
        dataset.pixels([place], resize=(40, 40), channels=1).tensor[0, 0],
        torch.from_numpy(by_path(dataset, "U+00E9/DejaVuSerif-Bold")),
    )


@pytest.mark.usefixtures("few")
def test_drawings_are_black_on_white_centred_and_keep_their_relative_size(tmp_path: Path) -> None:
    dataset = typefaces(cache=tmp_path)

    def extent(path: str) -> tuple[int, int]:
        ink = by_path(dataset, path) < 255
        rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
        assert abs(rows[0] - (39 - rows[-1])) <= 1
        assert abs(columns[0] - (39 - columns[-1])) <= 1
        return len(range(rows[0], rows[-1] + 1)), len(range(columns[0], columns[-1] + 1))

    tall, wide = extent("U+0048/DejaVuSans")  # H
    assert tall == 24  # 0.729 × 32 = 23.3: the height of capitals is 1493 of 2048 units
    assert extent("U+00E9/DejaVuSans")[0] > tall
    assert extent("U+0049/DejaVuSans")[1] < wide / 2
    assert extent("U+0048/DejaVuSans-Bold")[0] == tall
    assert 36 <= max(extent("U+27FA/DejaVuSans")) <= 38  # a long arrow is drawn as large as fits
    assert (by_path(dataset, "U+0048/DejaVuSans") == 255).mean() > 0.5


@pytest.mark.usefixtures("few")
def test_accents_tell_characters_apart(tmp_path: Path) -> None:
    dataset = typefaces(cache=tmp_path)
    images = [by_path(dataset, f"U+00{code}/DejaVuSans") for code in ("E8", "E9", "EA")]
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.usefixtures("few")
def test_two_drawings_are_the_same_to_the_byte(tmp_path: Path) -> None:
    first = typefaces(24, cache=tmp_path / "a")
    second = typefaces(24, cache=tmp_path / "b")
    assert first.embedded is not None
    assert second.embedded is not None
    assert first.embedded.tobytes() == second.embedded.tobytes()
    assert first.manifest == second.manifest
    (one,), (other,) = (tmp_path / "a").iterdir(), (tmp_path / "b").iterdir()
    assert one.name == other.name
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("few")
def test_the_cache_is_used_and_keeps_sizes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, small = typefaces(cache=tmp_path), typefaces(16, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(module, "_draw_all", lambda _: pytest.fail("drawn again"))
    for size, before in ((40, drawn), (16, small)):
        again = typefaces(size, cache=tmp_path)
        assert again.manifest == before.manifest
        assert np.array_equal(np.asarray(again.embedded), np.asarray(before.embedded))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_cache_is_drawn_again_with_one_sentence(tmp_path: Path, damage: str) -> None:
    drawn = typefaces(16, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-1000] ^= 1
    file.write_bytes(
        {"cut": whole[:-100], "flipped": bytes(flipped), "empty": b"", "other": b"hello" * 99}[damage]
    )
    with pytest.warns(UserWarning, match="are damaged: they are drawn again") as caught:
        again = typefaces(16, cache=tmp_path)
    assert len(caught) == 1
    assert np.array_equal(np.asarray(again.embedded), np.asarray(drawn.embedded))
    assert file.read_bytes() == whole
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        typefaces(16, cache=tmp_path)


@pytest.mark.usefixtures("few")
def test_a_place_that_cannot_be_written_only_costs_the_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="drawn again next time, for they cannot be cached"):
        dataset = typefaces(16, cache=tmp_path / "file" / "cache")
    assert len(dataset.manifest)


def test_bad_sizes_and_missing_fonts_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="typefaces of 4 pixels a side"):
        typefaces(4, cache=tmp_path)
    monkeypatch.setattr(module, "TYPEFACES", ("NoSuchFont",))
    with pytest.raises(
        UserError, match=r"lacks NoSuchFont.ttf, which Matplotlib ships: install Matplotlib again"
    ):
        typefaces(16, cache=tmp_path)
    assert not list(tmp_path.iterdir())


def open_and_digest(cache: str) -> str:
    dataset = typefaces(16, cache=cache)
    return f"{np.asarray(dataset.embedded).sum()} {len(dataset.manifest)}"


@pytest.mark.usefixtures("few")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_processes_that_start_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(open_and_digest, [str(tmp_path)] * 6, chunksize=1)
    assert len(set(found)) == 1
    assert len(list(tmp_path.iterdir())) == 1
