"""Which item is which: the Parquet file of ids and content hashes, and the facts in ``table.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from understudy.data.parquet import read_parquet
from understudy.data.table.plan import FORMAT, TablePlan
from understudy.data.table.shards import AGAIN
from understudy.errors import UserError
from understudy.files import atomic_file

FACTS, PLAN, IDS, LOCK, QUERIES = "table.json", "plan.json", "ids.parquet", ".lock", "queries.txt"


T = TypeVar("T")


class DamagedError(UserError):
    """The facts of a table cannot be understood."""


_FACTS = {
    "format": int,
    "teacher": str,
    "count": int,
    "dim": int,
    "dtype": str,
    "num_views": int,
    "normalised": bool,
    "metadata": dict,
    "shards": list,
    "queries": int,
}


@dataclass(frozen=True)
class Index:
    """The items that a table was begun with, in order.

    Attributes:
        ids: The id of each.
        hashes: A hash of each one's content; None where they are not known.
        states: Size and time of change (in ns) of each one's file; None where they are not known.
        view_rows: The number that each one's views were drawn for; None where that does not matter.
        left_out: Which of them could not be read and have no vectors.
    """

    ids: tuple[str, ...]
    hashes: tuple[str, ...] | None = None
    states: tuple[tuple[int, int], ...] | None = None
    view_rows: tuple[int, ...] | None = None
    left_out: frozenset[int] = frozenset()

    @classmethod
    def of(
        cls, ids: Sequence[str], hashes: Sequence[str] | None = None, rows: Sequence[int] | None = None
    ) -> Index:
        """The items as they are known at the beginning."""
        return cls(
            tuple(ids),
            None if hashes is None else tuple(hashes),
            view_rows=None if rows is None else tuple(map(int, rows)),
        )

    def kept(self) -> Index:
        """The items that have vectors."""
        if not self.left_out:
            return self
        rows = [row for row in range(len(self.ids)) if row not in self.left_out]

        def of(column: tuple[T, ...] | None) -> tuple[T, ...] | None:
            return None if column is None else tuple(column[row] for row in rows)

        return Index(of(self.ids) or (), of(self.hashes), of(self.states), of(self.view_rows))

    def difference(self, other: Index) -> str | None:
        """The first item in which others differ, if there is one."""
        for row, (old, new) in enumerate(zip(self.ids, other.ids, strict=False)):
            if old != new:
                return f"item {row}: {old!r} there, {new!r} here"
        if len(self.ids) != len(other.ids):
            return f"the number of items: {len(self.ids)} there, {len(other.ids)} here"
        if self.hashes is not None and other.hashes is not None:
            for name, before, now in zip(self.ids, self.hashes, other.hashes, strict=True):
                if before != now:
                    return f"the content of {name!r}, which has changed"
        if self.view_rows is not None and other.view_rows is not None:
            for name, first, second in zip(self.ids, self.view_rows, other.view_rows, strict=True):
                if first != second:
                    return f"the row of {name!r}, which decides about its views: {first} there, {second} here"
        return None

    def write(self, directory: Path) -> None:
        """Writes it, whole or not at all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {"id": pa.array(self.ids, pa.string())}
        if self.hashes is not None:
            columns["hash"] = pa.array(self.hashes, pa.string())
        if self.states is not None:
            for place, name in enumerate(("size", "mtime_ns")):
                columns[name] = pa.array([state[place] for state in self.states], pa.int64())
        if self.view_rows is not None:
            columns["row"] = pa.array(self.view_rows, pa.int64())
        if self.left_out:
            columns["left_out"] = pa.array([row in self.left_out for row in range(len(self.ids))])
        with atomic_file(directory / IDS) as draft:
            pq.write_table(pa.table(columns), draft)

    @classmethod
    def read(cls, directory: Path) -> Index:
        """Reads it back.

        Raises:
            UserError: The file is missing, damaged, or has no column ``id``.
        """
        table = read_parquet(directory / IDS, ("id",), cure=AGAIN)
        columns: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in table.column_names}
        states = zip(columns["size"], columns["mtime_ns"], strict=True) if "size" in columns else None
        return cls(
            tuple(columns["id"]),
            tuple(columns["hash"]) if "hash" in columns else None,
            None if states is None else tuple(states),
            tuple(columns["row"]) if "row" in columns else None,
            frozenset(row for row, out in enumerate(columns.get("left_out", ())) if out),
        )


def read_facts(directory: Path) -> dict[str, Any]:
    """The facts of a finished table.

    Raises:
        UserError: The directory or the file is missing, it is of another format, or not finished.
    """
    path = directory / FACTS
    if not directory.is_dir():
        raise UserError(
            f"there is no embedding table at {str(directory)!r}: pass the directory that holds {FACTS}"
        )
    if not path.is_file():
        if (directory / PLAN).is_file():
            raise UserError(
                f"the embedding table {str(directory)!r} is not finished: run the command that writes it "
                "again, it goes on where it stopped"
            )
        raise UserError(f"{str(directory)!r} is not an embedding table: it has no {FACTS}")
    facts = _json(path)
    wrong = [key for key, kind in _FACTS.items() if not isinstance(facts.get(key), kind)]
    if facts.get("format") != FORMAT and "format" not in wrong:
        raise UserError(
            f"{str(directory)!r} is an embedding table of format {facts['format']} and this version "
            f"reads format {FORMAT}: install the understudy that wrote it, or write the table again"
        )
    if wrong:
        raise DamagedError(f"{str(path)!r} lacks {', '.join(wrong)}: {AGAIN}")
    return facts


def read_plan(directory: Path) -> TablePlan | None:
    """The plan that a table was begun with; None where there is none.

    Raises:
        UserError: It is damaged, or of another format.
    """
    if (directory / FACTS).is_file():
        facts = read_facts(directory)
    elif (directory / PLAN).is_file():
        facts = _json(directory / PLAN)
    else:
        return None
    try:
        return TablePlan.of(facts)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(
            f"the plan of the table {str(directory)!r} is damaged ({error}): {AGAIN}"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedError(f"{str(path)!r} is not JSON ({error}): {AGAIN}") from error
    if not isinstance(facts, dict):
        raise DamagedError(f"{str(path)!r} must hold a JSON object: {AGAIN}")
    return facts
