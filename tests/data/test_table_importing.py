"""Vectors that others stored become a table; what does not fit is refused by name, and nothing is left."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from understudy.data import open_dataset
from understudy.data.table import Table, write_table
from understudy.data.table import content as content_module
from understudy.data.table import incoming as incoming_module
from understudy.data.table.content import content_hashes, refuse_changed
from understudy.errors import UserError
from understudy.verbs import import_table

X = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
IDS = [f"é/{number}.png" for number in range(30)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_module, "BLOCK", 7)


def as_matrix(place: Path, x: np.ndarray = X, ids: list[str] | None = None) -> dict[str, Any]:
    np.save(place / "x.npy", x)
    (place / "ids.txt").write_text("\n".join(IDS if ids is None else ids) + "\n", encoding="utf-8")
    return {"source": place / "x.npy", "ids": str(place / "ids.txt")}


def as_array_of_bytes(place: Path, encoding: str = "utf-8") -> str:
    np.save(place / "ids.npy", np.array([name.encode(encoding) for name in IDS]))
    return str(place / "ids.npy")


def as_parquet(place: Path, x: Any = X, ids: list[Any] | None = None, kind: Any = None) -> dict[str, Any]:
    vectors = pa.array([None if row is None else list(row) for row in x], kind or pa.list_(pa.float32()))
    columns = {"id": pa.array(IDS if ids is None else ids), "embedding": vectors, "tag": pa.array([1] * 30)}
    pq.write_table(pa.table(columns), place / "x.parquet", row_group_size=11)
    return {"source": place / "x.parquet"}


def as_csv(
    place: Path, form: Callable[[np.ndarray], str] = lambda row: " ".join(map(repr, row.tolist()))
) -> Any:
    lines = ["name,numbers,path"] + [f'"x, y","{form(row)}",{name}' for row, name in zip(X, IDS, strict=True)]
    (place / "x.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"source": place / "x.csv", "column": "numbers"}


def as_saved_set(place: Path) -> dict[str, Any]:
    datasets = pytest.importorskip("datasets")
    columns = {"key": IDS[::-1], "embedding": X[::-1].tolist(), "n": list(range(30))}
    one = datasets.Dataset.from_dict(columns).select(range(29, -1, -1))  # in another order than its files
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(place / "set")
    return {"source": f"{place / 'set'}#train", "ids": "key"}


@pytest.mark.parametrize(
    "given",
    [
        as_matrix,
        lambda place: as_matrix(place, X.astype(np.float64)),
        lambda place: as_matrix(place, X) | {"ids": str(as_parquet(place)["source"])},
        lambda place: as_matrix(place) | {"ids": as_array_of_bytes(place)},
        lambda place: as_matrix(place, ids=[f"\ufeff{IDS[0]}", *IDS[1:]]),  # as spreadsheets save text
        as_parquet,
        lambda place: as_parquet(place, ids=[name.encode() for name in IDS]),
        lambda place: as_parquet(place, kind=pa.list_(pa.float64(), 6)),
        lambda place: as_parquet(place, kind=pa.large_list(pa.float32())) | {"column": "embedding"},
        as_csv,
        lambda place: as_csv(place, lambda row: json.dumps(row.tolist())),
        as_saved_set,
    ],
)
def test_what_others_stored_comes_out_of_the_table(tmp_path: Path, given: Callable[[Path], Any]) -> None:
    table = import_table(**given(tmp_path), out=tmp_path / "t", teacher="an API")
    assert (table.ids, table.teacher, table.dim, table.queries) == (tuple(IDS), "an API", 6, 30)
    np.testing.assert_array_equal(table.read(range(30)), X)


def damaged(value: float) -> np.ndarray:
    x = X.copy()
    x[[8, 20]] = value
    return x


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            lambda p: as_matrix(p, damaged(np.nan)),
            r"2 of 30 vectors hold NaN .*\(rows 'é/8.png', 'é/20.png'\)",
        ),
        (lambda p: as_matrix(p, damaged(0.0)), r"all zeros as float32 \(rows 'é/8.png', 'é/20.png'\)"),
        (lambda p: as_matrix(p, X, IDS[:4]), r"x.npy' has 30 rows and .*ids.txt' has 4 ids"),
        (lambda p: as_matrix(p, X, [*IDS[:29], IDS[3]]), r"'é/3.png' stands in row 3 and in row 29"),
        (lambda p: as_matrix(p, X, [*IDS[:29], " "]), r"ids.txt', line 30: it is empty"),
        (
            lambda p: as_matrix(p) | {"ids": as_array_of_bytes(p, "latin-1")},
            r"ids.npy', row 1: its id b'\\xe9/0.png' is not UTF-8 text \(invalid continuation byte\): save",
        ),
        (lambda p: as_matrix(p, X[0]), r"float32 of shape \(6,\): vectors are a matrix"),
        (lambda p: {**as_matrix(p), "ids": None}, "does not say whose vectors it holds: pass the file"),
        (lambda p: {**as_matrix(p), "ids": "no.txt"}, "there is no file of ids 'no.txt'"),
        (lambda p: {**as_matrix(p), "column": "x"}, "has no columns"),
        (
            lambda p: as_parquet(p, [*X[:9], X[9, :5], *X[10:]]),
            "x.parquet', row 10: its vector has 5 numbers, others 6",
        ),
        (
            lambda p: as_parquet(p, [*X[:9], None, *X[10:]]),
            "x.parquet', row 10: its vector has 0 numbers, others 6",
        ),
        (
            lambda p: as_parquet(p, [*X[:9], [1, None, 2, 3, 4, 5], *X[10:]]),
            "row 10: a number of its vector is missing",
        ),
        (lambda p: as_parquet(p, ids=[*IDS[:2], None, *IDS[3:]]), "x.parquet', row 3: its id is missing"),
        (
            lambda p: {**as_parquet(p), "column": "embeding"},
            "has no column 'embeding': did you mean 'embedding'",
        ),
        (lambda p: {**as_parquet(p), "column": "tag"}, "the column 'tag' holds int64, not vectors"),
        (lambda p: {**as_parquet(p), "ids": "idx"}, "has no column 'idx'"),
        (lambda p: as_csv(p, lambda row: "a b"), "x.csv', line 2: it holds no vector of numbers"),
        (
            lambda p: {**as_csv(p), "column": None},
            "does not say which column holds the vectors: name one of name",
        ),
        (lambda p: {**as_saved_set(p), "source": p / "set"}, "has several splits: write .*set#SPLIT"),
        (lambda p: {"source": p / "x.pkl"}, "is neither a file nor a HuggingFace data set"),
        (lambda p: {"source": p / "x.npy"}, "there is no file .*x.npy"),
        (
            lambda p: (as_matrix(p), (p / "x.npy").write_bytes(b"PK"), {"source": p / "x.npy"})[2],
            "not an array",
        ),
        (
            lambda p: (as_parquet(p), (p / "x.parquet").write_bytes(b"P"), {"source": p / "x.parquet"})[2],
            "not a Parq",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left(
    tmp_path: Path, given: Callable[[Path], dict[str, Any]], message: str
) -> None:
    arguments = given(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=message) as error:
        import_table(**arguments, out=tmp_path / "t", teacher="an API")
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before


def test_images_without_vectors_are_named_and_changes_are_noticed(folder: Path, tmp_path: Path) -> None:
    dataset = open_dataset(folder)
    ids = ["another", *dataset.manifest.ids]
    x = np.random.default_rng(0).normal(size=(49, 4)).astype(np.float32)
    given = as_matrix(tmp_path, x[:47], ids[:47]) | {"teacher": "api", "data": folder, "out": tmp_path / "t"}
    with pytest.raises(
        UserError,
        match=r"2 of 48 images of 'images' have no vector .*\('class07/4.png', 'class07/5.png'; its ids",
    ):
        import_table(**given)
    as_matrix(tmp_path, x, ids)
    table = import_table(**given)
    rows = np.arange(48)
    numbers = table.rows(dataset.manifest.ids)
    assert numbers.tolist() == list(range(1, 49))
    refuse_changed(table, dataset, rows, numbers)
    picture = folder / "class00" / "1.png"
    content = picture.read_bytes()
    (folder / "class00" / "2.png").write_bytes(content)
    with pytest.raises(
        UserError, match=r"1 of 48 images have changed since .*\('class00/2.png'\): embed them"
    ):
        refuse_changed(table, dataset, rows, numbers)
    refuse_changed(table, dataset, rows[3:], numbers[3:])
    picture.write_bytes(content)  # touched, and the same
    refuse_changed(table, dataset, rows[1:2], numbers[1:2])
    picture.unlink()  # gone: the table still has its vector
    refuse_changed(table, dataset, rows[1:2], numbers[1:2])


def test_a_table_without_hashes_is_believed(folder: Path, tmp_path: Path) -> None:
    dataset = open_dataset(folder)
    table = write_table(tmp_path / "t", np.ones((48, 2)), dataset.manifest.ids, metadata={"teacher": "x"})
    refuse_changed(table, dataset, np.arange(48), np.arange(48))
    hashes = content_hashes(dataset, range(48))
    hashed = write_table(
        tmp_path / "h",
        np.ones((48, 2)),
        dataset.manifest.ids,
        metadata={"teacher": "x"},
        hashes=["other", *hashes[1:]],
    )
    with pytest.raises(UserError, match=r"1 of 48 images have changed .*\('class00/0.png'\)"):
        refuse_changed(hashed, dataset, np.arange(48), np.arange(48))


def test_items_of_a_saved_set_are_looked_at_only_where_it_was_saved_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no size of their own, only the time at which their set was saved."""
    dataset, rows = open_dataset(folder), np.arange(48)
    hashes = content_hashes(dataset, rows.tolist())
    ids = dataset.manifest.ids
    table = write_table(tmp_path / "t", np.ones((48, 2)), ids, metadata={"teacher": "x"}, hashes=hashes)
    table.states = np.array([[-1, 7]] * 48)
    read: list[int] = []

    def reading(_: object, some: list[int]) -> list[str]:
        read.extend(some)
        return [hashes[row] for row in some]

    monkeypatch.setattr(content_module, "content_hashes", reading)
    monkeypatch.setattr(content_module, "state", lambda path: (-1, 7))
    refuse_changed(table, dataset, rows, rows)
    assert not read
    monkeypatch.setattr(content_module, "state", lambda path: (-1, 8))
    refuse_changed(table, dataset, rows, rows)
    assert read == rows.tolist()


def test_importing_takes_less_memory_than_the_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming_module, "BLOCK", 1000)
    x = np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32)
    given = as_matrix(tmp_path, x, [str(number) for number in range(len(x))])
    size = x.nbytes
    del x
    tracemalloc.start()
    import_table(**given, out=tmp_path / "t", teacher="an API")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 0.75 * size, most


def test_the_command_says_what_it_made(command: Callable[..., Any], tmp_path: Path) -> None:
    given = as_matrix(tmp_path)
    words = ("import-table", given["source"], "--ids", given["ids"], "-o", tmp_path / "t", "--dtype", "int8")
    done = command(*words)
    assert (done.status, done.err) == (0, "")
    table = Table.open(tmp_path / "t")
    assert table.neighbour_agreement is not None
    assert done.out.splitlines() == [
        f"30 vectors of dimension 6: {tmp_path / 't'}",
        f"int8 keeps {table.neighbour_agreement:.1%} of the ten nearest neighbours",
    ]
    assert table.teacher == "x.npy"
    assert "exists already" in command(*words).err
    other = command(*words[:-1], "int4", "-o", tmp_path / "u")
    assert (other.status, other.err[:43]) == (2, "error: there is no type of stored number na")
    split = command(*words[:4], "--split", "train", "-o", tmp_path / "u")
    assert "pass them too (--data)" in split.err
