"""The embedding table: what goes in comes out, and what does not fit is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from understudy.data.table import Table, write_table
from understudy.data.table.shards import map_shard, write_shard
from understudy.errors import UserError

META = {"teacher": "vit", "size": [224, 224]}
VECTORS = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32)
SHARD = "shards/00000.safetensors"
IDS = [f"a/{i:02}.png" for i in range(40)]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_table(tmp_path / "table", VECTORS, IDS, metadata=META, hashes=[f"h{i}" for i in range(40)])
    return tmp_path / "table"


def test_what_goes_in_comes_out(place: Path) -> None:
    table = Table.open(place)
    assert (len(table), table.dim, table.teacher, table.metadata) == (40, 7, "vit", {"size": [224, 224]})
    assert table.ids == tuple(IDS)
    assert table.hashes is not None
    assert table.hashes[39] == "h39"
    rows = [39, 0, 7, 7]
    read = table.read(rows)
    assert read.dtype == np.float32
    assert np.array_equal(read, VECTORS[rows])
    assert type(read) is np.ndarray  # in memory: no view of the file
    assert np.array_equal(load_file(place / SHARD)["vectors"], VECTORS)


def test_ids_are_joined_to_row_numbers(place: Path) -> None:
    table = Table.open(place)
    wanted = [IDS[5], IDS[39], IDS[5], IDS[0]]
    rows = table.rows(wanted)
    assert rows.dtype == np.int64
    assert rows.tolist() == [5, 39, 5, 0]


def test_missing_ids_are_counted_and_named(place: Path) -> None:
    with pytest.raises(UserError, match=r"4 of 5 ids .* \('w', 'x', 'y', …\)"):
        Table.open(place).rows(["w", "x", IDS[0], "y", "z"])


def test_half_precision_and_tensors(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t", torch.from_numpy(VECTORS), IDS, metadata=META, dtype="float16")
    assert load_file(tmp_path / "t" / SHARD)["vectors"].dtype == np.float16
    assert table.hashes is None
    assert np.array_equal(table.read(range(40)), VECTORS.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize(("scale", "normalised"), [(1.0, True), (1.01, False)])
def test_unit_length_is_measured(tmp_path: Path, scale: float, normalised: bool) -> None:
    unit = scale * VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    assert write_table(tmp_path / "t", unit, IDS, metadata=META).normalised is normalised


def test_the_file_is_mapped_not_read(place: Path) -> None:
    vectors = map_shard(place / SHARD).tensors["vectors"]
    assert not vectors.flags.writeable
    assert not vectors.flags.owndata
    assert vectors.ctypes.data % vectors.itemsize == 0


def test_rows_outside_the_table_are_an_error(place: Path) -> None:
    table = Table.open(place)
    for rows in ([-1], [40]):
        with pytest.raises(IndexError, match="between 0 and 39"):
            table.read(rows)
    assert table.read([]).shape == (0, 7)


def with_row(row: int, value: float) -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[row, 3:] = value
    if value == 0:
        vectors[row] = 0
    return vectors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vectors": with_row(3, np.nan)}, r"1 of 40 vectors hold NaN or infinity as float32 \(rows 3\)"),
        ({"vectors": np.full_like(VECTORS, np.inf)}, r"40 of 40 .* \(rows 0, 1, 2, …\)"),
        ({"vectors": with_row(11, 0.0)}, r"all zeros as float32 \(rows 11\)"),
        ({"vectors": with_row(4, 1e6), "dtype": "float16"}, r"infinity as float16 \(rows 4\)"),
        ({"vectors": 1e-9 * VECTORS, "dtype": "float16"}, "all zeros as float16"),
        ({"ids": IDS[:39]}, "one id for each of its 40 vectors, got 39 ids"),
        ({"hashes": ["h"]}, "got 40 ids and 1 hashes"),
        ({"ids": [*IDS[:39], IDS[6]]}, "'a/06.png' stands in row 6 and in row 39"),
        ({"ids": [*IDS[:39], "caf\udce9"]}, r"the id 'caf\\udce9' in row 39 is not UTF-8 text: rename it"),
    ],
)
def test_bad_vectors_and_ids_are_refused_and_nothing_is_written(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_table(tmp_path / "t", **{"vectors": VECTORS, "ids": IDS, "metadata": META, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_wrong_shapes_are_programming_errors(tmp_path: Path) -> None:
    for vectors in (VECTORS[0], VECTORS.astype(np.int64), VECTORS[:0]):
        with pytest.raises(ValueError, match=r"floating-point .rows, dim. matrix"):
            write_table(tmp_path / "t", vectors, IDS, metadata=META)
    with pytest.raises(ValueError, match="name the teacher"):
        write_table(tmp_path / "t", VECTORS, IDS, metadata={})


def test_an_existing_table_is_kept_unless_told_otherwise(place: Path) -> None:
    with pytest.raises(UserError, match="exists already"):
        write_table(place, VECTORS[:2], IDS[:2], metadata=META)
    assert len(Table.open(place)) == 40
    assert len(write_table(place, VECTORS[:2], IDS[:2], metadata=META, overwrite=True)) == 2


def cut(name: str, keep: int) -> Callable[[Path], object]:
    def apply(place: Path) -> None:
        path = place / name
        path.write_bytes(path.read_bytes()[:keep])

    return apply


def remove(name: str) -> Callable[[Path], object]:
    return lambda place: (place / name).unlink()


def change(**facts: object) -> Callable[[Path], object]:
    def apply(place: Path) -> None:
        path = place / "table.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut(SHARD, -1), r"has \d+ of \d+ bytes \(truncated"),
        (cut(SHARD, 20), "not a shard of an embedding table"),
        (cut(SHARD, 0), "not a shard of an embedding table"),
        (lambda place: (place / SHARD).write_bytes(b"\xff" * 99), "not a shard of an embedding table"),
        (remove(SHARD), r"00000.safetensors' is missing"),
        (
            lambda place: write_shard(place / SHARD, {"vectors": VECTORS[::-1]}, {}),
            "belongs to another table",
        ),
        (cut("ids.parquet", -9), "not a Parquet file"),
        (cut("ids.parquet", 0), "not a Parquet file"),
        (remove("ids.parquet"), r"ids.parquet' is missing"),
        (remove("table.json"), "not an embedding table: it has no table.json"),
        (cut("table.json", -9), "is not JSON"),
        (lambda place: (place / "table.json").write_text("[]"), "must hold a JSON object"),
        (change(format=1), "of format 1 and this version reads format 2"),
        (change(teacher=None), "lacks teacher"),
        (
            change(count=41),
            "speaks of 41 items and 41 vectors, and there are 40 ids and 40 vectors",
        ),
    ],
)
def test_damaged_tables_are_refused_in_one_sentence(
    place: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(place)
    with pytest.raises(UserError, match=message) as error:
        Table.open(place)
    assert "\n" not in str(error.value)


def test_a_place_without_a_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no embedding table at .*nowhere"):
        Table.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"it has no table.json"):
        Table.open(tmp_path)


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with pytest.raises(UserError, match="no space left while writing"), full_disk(2000):
        write_table(
            tmp_path / "t", np.ones((1000, 4), np.float32), list(map(str, range(1000))), metadata=META
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_file_is_one_that_the_library_reads(tmp_path: Path, dtype: type[np.floating]) -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)
    tensors = {"vectors": vectors, "steps": np.arange(5, dtype=np.int8), "none": vectors[:0]}
    write_shard(tmp_path / "f", tensors, {"a": "b"})
    for read in (load_file(tmp_path / "f"), map_shard(tmp_path / "f").tensors):
        assert set(read) == set(tensors)
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(read[name], tensor)
