"""Manifests read from files: CSV and Parquet, checked row by row."""

from __future__ import annotations

import csv
import difflib
import posixpath
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.data.manifest import SPLITS, Manifest
from understudy.data.parquet import open_parquet
from understudy.errors import UserError, suggest

_COLUMNS = ("path", "text", "id", "label", "split", "camera", "box")
_NO_BOX = (-1, -1, -1, -1)
_LONGEST_FIELD = 2**24
_LARGEST_SIDE = 2**31


@dataclass(frozen=True)
class _Table:
    """Columns of text, and where each row stands: "line 2" of a CSV, "row 1" of a Parquet file."""

    file: Path
    columns: Mapping[str, Sequence[str]]
    names: tuple[str, ...]
    places: Sequence[str]

    def error(self, row: int, column: str, problem: str) -> UserError:
        return UserError(f"{str(self.file)!r}, {self.places[row]}, {column}: {problem}")


def read_manifest_file(path: Path) -> Manifest:
    """See `understudy.data.manifest.read_manifest`."""
    check_ending(path)
    if not path.exists():
        raise UserError(f"the manifest {str(path)!r} does not exist: check the path")
    if path.is_dir():
        raise UserError(f"{str(path)!r} is a folder with the ending of a manifest: pass the file in it")
    table = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    return _checked(table)


def check_ending(path: Path) -> None:
    """Refuses a path that no manifest can have.

    Raises:
        UserError: It ends in neither ``.csv`` nor ``.parquet``.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise UserError(f"{str(path)!r} ends in neither .csv nor .parquet: a manifest is one of the two")


def _read_csv(path: Path) -> _Table:
    places: list[str] = []
    rows: list[list[str]] = []
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))  # texts may be long
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            line = reader.line_num + 1
            for row in reader:
                if row:
                    if len(row) != len(header):
                        raise UserError(
                            f"{str(path)!r}, line {line}: {len(row)} fields under {len(header)} columns: "
                            "put quotes around fields with commas in them"
                        )
                    rows.append(row)
                    places.append(f"line {line}")
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise UserError(f"{str(path)!r} is not UTF-8 text ({error.reason}): save it as UTF-8 CSV") from error
    except csv.Error as error:
        raise UserError(f"{str(path)!r}, line {reader.line_num}: it is not CSV ({error})") from error
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise UserError(f"{str(path)!r}, line 1: the column {min(twice)!r} is there twice: remove one")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(header)}
    return _Table(path, columns, tuple(header), places)


def _read_parquet(path: Path) -> _Table:
    with open_parquet(path) as file:
        names = tuple(file.schema_arrow.names)
        table = file.read([name for name in _COLUMNS if name in names])
    columns = {
        name: _as_texts(path, name, table.column(name).to_pylist()) for name in _COLUMNS if name in names
    }
    places = [f"row {number}" for number in range(1, table.num_rows + 1)]
    return _Table(path, columns, names, places)


def _as_texts(path: Path, column: str, values: Iterable[object]) -> list[str]:
    texts = []
    for row, value in enumerate(values, 1):
        try:
            texts.append(_as_text(value))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{str(path)!r}, row {row}, {column}: {value!r} is not UTF-8 text: write the column as text"
            ) from error
    return texts


def _as_text(value: object) -> str:
    """A value as a CSV of the same table would hold it."""
    if isinstance(value, list):
        return " ".join(map(_as_text, value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and value.is_integer():  # pandas makes whole numbers with gaps floats
        return str(int(value))
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 (NaN: a gap)


def _checked(table: _Table) -> Manifest:
    item = _item_column(table)
    items, labels, splits = (tuple(table.columns[name]) for name in (item, "label", "split"))
    for row, (value, split) in enumerate(zip(items, splits, strict=True)):
        if not value:
            raise table.error(row, item, "it is empty: fill it in or remove the row")
        if split and split not in SPLITS:
            raise table.error(row, "split", f"{split!r} is not a split: {suggest(split, SPLITS)}")
    boxes = _boxes(table)
    if item == "path":
        files = map(posixpath.normpath, items)  # ./a.png is a.png
        _refuse_repeated(table, item, items, [(file, _box_of(boxes, row)) for row, file in enumerate(files)])
    ids = tuple(table.columns["id"]) if "id" in table.columns else default_ids(items, boxes)
    _refuse_repeated(table, "id" if "id" in table.columns else item, ids, ids)
    cameras = tuple(table.columns["camera"]) if "camera" in table.columns else None
    return Manifest(
        root=table.file.parent,
        paths=items if item == "path" else (),
        texts=items if item == "text" else None,
        ids=ids,
        labels=labels,
        splits=splits,
        cameras=cameras,
        boxes=boxes,
    )


def _item_column(table: _Table) -> str:
    name = repr(str(table.file))
    if not table.names:
        raise UserError(f"{name} is empty: its first line must name the columns (path, label, split, …)")
    if "path" in table.names and "text" in table.names:
        raise UserError(
            f"{name} has both a 'path' and a 'text' column: an item is one of the two, remove the other"
        )
    item = "text" if "text" in table.names else "path"
    wanted = {
        item: "the image files",
        "label": "the classes; empty where unknown",
        "split": f"{', '.join(SPLITS)}; empty for none",
    }
    for column, holds in wanted.items():
        if column not in table.names:
            near = difflib.get_close_matches(column, [other.lower().strip() for other in table.names], n=1)
            hint = f"rename {near[0]!r}" if near else "add it"
            raise UserError(f"{name} has no column {column!r} ({holds}): {hint}")
    for column in ("camera", "box"):
        near = difflib.get_close_matches(column, set(table.names) - set(_COLUMNS), n=1, cutoff=0.8)
        if column not in table.names and near:
            raise UserError(f"{name} has a column {near[0]!r}: did you mean {column!r}?")
    if not table.places:
        raise UserError(f"{name} has a header and no rows: add one row an item")
    return item


def _boxes(table: _Table) -> np.ndarray | None:
    if "box" not in table.columns:
        return None
    boxes = np.full((len(table.places), 4), -1, dtype=np.int64)
    for row, value in enumerate(table.columns["box"]):
        parts = value.replace(",", " ").split()
        if not parts:
            continue
        try:
            left, upper, right, lower = map(int, parts)
        except ValueError as error:
            raise table.error(
                row, "box", f"{value!r} is not four whole numbers: left upper right lower"
            ) from error
        if not (0 <= left < right and 0 <= upper < lower):
            raise table.error(row, "box", f"{value!r} is empty or negative: write left upper right lower")
        if max(right, lower) > _LARGEST_SIDE:
            raise table.error(row, "box", f"{value!r} is larger than any image: write left upper right lower")
        boxes[row] = left, upper, right, lower
    return boxes


def default_ids(items: tuple[str, ...], boxes: np.ndarray | None) -> tuple[str, ...]:
    """The path, with the box behind it where several boxes are cut from one image."""
    if boxes is None or len(set(items)) == len(items):
        return items
    return tuple(
        value if boxes[row][0] < 0 else f"{value}#{','.join(map(str, boxes[row].tolist()))}"
        for row, value in enumerate(items)
    )


def _box_of(boxes: np.ndarray | None, row: int) -> tuple[int, ...]:
    return _NO_BOX if boxes is None else tuple(boxes[row].tolist())


def _refuse_repeated(table: _Table, column: str, values: Sequence[str], keys: Sequence[Hashable]) -> None:
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        before = first.setdefault(key, row)
        if before != row:
            cure = "give each text an 'id' of its own" if column == "text" else "keep one of the two"
            raise table.error(
                row, column, f"{values[row]!r} is there already in {table.places[before]}: {cure}"
            )
