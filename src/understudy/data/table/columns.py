"""A column of ids and a column of vectors: of Parquet files, CSV files and saved HuggingFace data sets."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.huggingface import saved_sets
from understudy.errors import UserError, suggest

_IDS, _VECTORS = ("id", "path"), ("vector", "embedding")
_LONGEST_FIELD = 2**24


def parquet_ids(path: Path, column: str | None) -> list[str]:
    """The ids in a Parquet file."""
    with _parquet(path) as file:
        name = _chosen(column, _IDS, file.schema_arrow.names, path, "the ids")
        return as_ids(file.read([name]).column(name).to_pylist(), path)


def parquet_blocks(path: Path, column: str | None, size: int) -> Iterator[np.ndarray]:
    """The vectors in a Parquet file; one group of its rows is read at a time."""
    with _parquet(path) as file:
        schema = file.schema_arrow
        lists = [field.name for field in schema if _is_list(field.type)]
        name = _chosen(column, _VECTORS, schema.names, path, "the vectors", lists)
        if name not in lists:
            raise UserError(
                f"{str(path)!r}: the column {name!r} holds {schema.field(name).type}, not vectors"
            )
        row, dim = 0, None
        for batch in file.iter_batches(size, columns=[name]):
            block = _block(batch.column(name), path, row, dim)
            row, dim = row + len(block), block.shape[1]
            yield block


def csv_ids(path: Path, column: str | None) -> list[str]:
    """The ids in a CSV file."""
    lines = _csv(path)
    header = next(lines)[1]
    place = header.index(_chosen(column, _IDS, header, path, "the ids"))
    return [fields[place] for _, fields in lines]


def csv_blocks(path: Path, column: str | None, size: int) -> Iterator[np.ndarray]:
    """The vectors in a CSV file, read line by line."""
    lines = _csv(path)
    header = next(lines)[1]
    place = header.index(_chosen(column, _VECTORS, header, path, "the vectors"))
    dim: int | None = None
    held: list[np.ndarray] = []
    for line, fields in lines:
        text = fields[place].strip().strip("[]()").replace(",", " ").replace(";", " ")
        try:
            vector = np.array(text.split(), dtype=np.float32)
        except ValueError as error:
            raise UserError(f"{str(path)!r}, line {line}: it holds no vector of numbers ({error})") from None
        dim = dim or len(vector)
        if len(vector) != dim or not dim:
            raise UserError(f"{str(path)!r}, line {line}: its vector has {len(vector)} numbers, others {dim}")
        held.append(vector)
        if len(held) == size:
            yield np.stack(held)
            held = []
    if held:
        yield np.stack(held)


def saved_ids(folder: Path, split: str, column: str | None) -> list[str]:
    """The ids in a HuggingFace data set that was saved to disk."""
    saved = _saved(folder, split)
    name = _chosen(column, _IDS, saved.column_names, folder, "the ids")
    tables = saved.select_columns([name]).with_format("arrow").iter(batch_size=65536)
    return [text for table in tables for text in as_ids(table.column(name).to_pylist(), folder)]


def saved_blocks(folder: Path, split: str, column: str | None, size: int) -> Iterator[np.ndarray]:
    """The vectors in a HuggingFace data set that was saved to disk; its files are mapped, not read whole."""
    saved = _saved(folder, split)
    types = saved.features.arrow_schema
    lists = [name for name in saved.column_names if _is_list(types.field(name).type)]
    name = _chosen(column, _VECTORS, saved.column_names, folder, "the vectors", lists)
    if name not in lists:
        raise UserError(f"{str(folder)!r}: the column {name!r} holds no vectors")
    row, dim = 0, None
    for table in saved.select_columns([name]).with_format("arrow").iter(batch_size=size):
        block = _block(table.column(name).combine_chunks(), folder, row, dim)
        row, dim = row + len(block), block.shape[1]
        yield block


def _saved(folder: Path, split: str) -> Any:
    sets = saved_sets(folder)
    if split in sets:
        return sets[split]
    if not split and len(sets) == 1:
        return next(iter(sets.values()))
    asked = f"no split {split!r}" if split else "several splits"
    raise UserError(
        f"{str(folder)!r} has {asked}: write {folder}#SPLIT, {suggest(split, filter(None, sets))}"
    )


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{str(path)!r} is not a Parquet file that can be read ({reason}): write it again"
        ) from error


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the fields of each line, the header first."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header: list[str] = next(reader, [])
            yield 1, header
            for fields in reader:
                if fields and len(fields) != len(header):
                    raise UserError(
                        f"{str(path)!r}, line {reader.line_num}: {len(fields)} fields under {len(header)} "
                        "columns: put quotes around fields with commas in them"
                    )
                if fields:
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise UserError(f"{str(path)!r} is not UTF-8 text ({error.reason}): save it as UTF-8 CSV") from error
    except csv.Error as error:
        raise UserError(f"{str(path)!r} is not CSV ({error}): write it again") from error


def _chosen(
    column: str | None,
    usual: Sequence[str],
    there: Sequence[str],
    path: Path,
    what: str,
    possible: Sequence[str] = (),
) -> str:
    """The column that was named, or the one that is meant."""
    if column is not None:
        if column not in there:
            raise UserError(f"{str(path)!r} has no column {column!r}: {suggest(column, there)}")
        return column
    for name in usual:
        if name in there:
            return name
    if len(possible) == 1:
        return possible[0]
    columns = ", ".join(possible or there) or "none"
    option = "--column" if usual is _VECTORS else "--ids"
    raise UserError(f"{str(path)!r} does not say which column holds {what}: name one of {columns} ({option})")


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    )


def _block(column: Any, path: Path, first: int, dim: int | None) -> np.ndarray:
    """Lists of numbers as a matrix.

    Raises:
        UserError: One of them is missing or of another length than those before.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_fixed_size_list(column.type):
        lengths = np.full(len(column), column.type.list_size)
    else:
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    lengths = np.where(column.is_null().to_numpy(zero_copy_only=False), 0, lengths)
    dim = dim or int(lengths.max(initial=0))
    odd = np.flatnonzero((lengths != dim) | (lengths == 0))
    if len(odd):
        row = int(odd[0])
        raise UserError(
            f"{str(path)!r}, row {first + row + 1}: its vector has {lengths[row]} numbers, others {dim}"
        )
    numbers = column.flatten()
    if numbers.null_count:
        row = int(np.flatnonzero(numbers.is_null().to_numpy(zero_copy_only=False))[0]) // dim
        raise UserError(f"{str(path)!r}, row {first + row + 1}: a number of its vector is missing")
    matrix: np.ndarray = numbers.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    return matrix


def as_ids(values: Sequence[Any], path: Path) -> list[str]:
    """Ids as text; what was stored as bytes is UTF-8.

    Raises:
        UserError: One is missing, or is no UTF-8.

    Example:
        >>> as_ids([7, "é.png", "é.png".encode()], Path("ids.npy"))
        ['7', 'é.png', 'é.png']
    """
    ids = []
    for row, value in enumerate(values, 1):
        if value in (None, "", b""):
            raise UserError(f"{str(path)!r}, row {row}: its id is missing")
        try:
            ids.append(value.decode("utf-8") if isinstance(value, bytes) else str(value))
        except UnicodeDecodeError as error:
            raise UserError(
                f"{str(path)!r}, row {row}: its id {value!r} is not UTF-8 text ({error.reason}): "
                "save it as text"
            ) from error
    return ids
