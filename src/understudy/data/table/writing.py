"""Writing a table, shard by shard, so that what was asked is never lost and half a shard never believed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from understudy.data.table.agreement import sampled
from understudy.data.table.checks import all_unit_length, check_ids, check_rows
from understudy.data.table.finishing import finish
from understudy.data.table.index import FACTS, QUERIES, Index
from understudy.data.table.locking import Lock
from understudy.data.table.numbers import stored
from understudy.data.table.plan import TablePlan
from understudy.data.table.setting_up import refuse_strange, set_up
from understudy.data.table.shards import as_bytes, as_texts, exact_path, map_shard, shard_path, write_shard
from understudy.data.table.state import State, read_queries
from understudy.data.table.table import Table
from understudy.errors import UserError
from understudy.files import append_line, atomic_file, make_directory


class TableWriter:
    """Fills a table whose items are known beforehand; a table that was begun is gone on with.

    Every shard is written whole or not at all, in any order and by any process, and the table counts as one
    only once `finish` wrote ``table.json``. Use it in a ``with`` statement, or call `close`.

    Example:
        >>> import tempfile
        >>> place, ids = Path(tempfile.mkdtemp()) / "table", ["a", "b", "c"]
        >>> plan = TablePlan("vit", shard_rows=2)
        >>> with TableWriter.open(place, ids, plan=plan) as writer:
        ...     print(writer.pending(), writer.items(1))
        ...     writer.write(0, np.eye(2, dtype=np.float32))
        [0, 1] range(2, 3)
        >>> with TableWriter.open(place, ids, plan=plan) as writer:
        ...     for shard in writer.pending():
        ...         writer.write(shard, np.array([[3, 4]], dtype=np.float32))
        ...     writer.finish().read([2, 0]).tolist()
        [[3.0, 4.0], [1.0, 0.0]]
    """

    def __init__(self, directory: Path, state: State, lock: Lock, *, tidy: bool) -> None:
        self.directory = directory
        self.plan = state.plan
        self.ids = state.index.ids
        self._state, self._lock, self._tidy = state, lock, tidy
        self._uncounted = 0

    @classmethod
    def open(
        cls,
        directory: str | Path,
        ids: Sequence[str],
        *,
        plan: TablePlan,
        hashes: Sequence[str] | None = None,
        rows: Sequence[int] | None = None,
        group: str | None = None,
    ) -> Self:
        """Begins a table, or goes on with one.

        Args:
            directory: Where it is to stand.
            ids: The id of each item, no two alike.
            plan: What it holds; how a table that was begun is cut into shards, and its dimension, are kept.
            hashes: A hash of each item's content, where they are known beforehand.
            rows: The number that each item's views are drawn for, see `understudy.data.views.Views`.
            group: Something that processes which write the same table together have in common, and others
                have not; None: this process writes alone.

        Raises:
            UserError: The place holds something else, or a table of another plan or other items (naming the
                first difference); another process is writing it; ids repeat.
        """
        directory = Path(directory)
        check_ids(ids, hashes, len(ids))
        if rows is not None and len(rows) != len(ids):
            raise ValueError(f"{len(ids)} items need as many rows, not {len(rows)}")
        if not ids:
            raise UserError(f"there are no items for the embedding table {str(directory)!r}: check the split")
        refuse_strange(directory)
        new = not directory.exists()
        make_directory(directory)
        lock = Lock(directory, group)
        try:
            state = set_up(directory, Index.of(ids, hashes, rows), plan, first=lock.first)
            lock.share()
        except BaseException:
            if new and group is None:
                shutil.rmtree(directory, ignore_errors=True)
            lock.release()
            raise
        return cls(directory, state, lock, tidy=new and group is None)

    @property
    def shards(self) -> int:
        """How many shards the whole table has."""
        return self._state.shards

    @property
    def finished(self) -> bool:
        """Whether the table is whole."""
        return (self.directory / FACTS).is_file()

    @property
    def queries(self) -> int:
        """How many images × views the teacher was asked about, by all processes and runs so far."""
        return read_queries(self.directory)

    def pending(self, rank: int = 0, world: int = 1) -> list[int]:
        """The shards that are not there, or are damaged: all, or the share of one process of several.

        Which process does which shard does not depend on what is there already, so processes that start at
        different moments never do the same one.
        """
        mine = range(rank, 0 if self.finished else self.shards, world)
        return [shard for shard in mine if not self._state.sound(shard, deep=True)]

    def items(self, shard: int) -> range:
        """The numbers of the items of a shard: places in ``ids``."""
        return self._state.items(shard)

    def content(self, shard: int) -> tuple[list[str], np.ndarray] | None:
        """Hashes and states of the items of a shard that is there; None where it was written without."""
        tensors = map_shard(shard_path(self.directory, shard)).tensors
        known = "hashes" in tensors and "states" in tensors
        return (as_texts(tensors["hashes"]), tensors["states"]) if known else None

    def asked(self, count: int) -> None:
        """Says that the teacher was asked about so many images × views: it counts whatever follows.

        What was not said when a shard is written is counted then.
        """
        append_line(self.directory / QUERIES, str(count))
        self._uncounted -= count

    def write(
        self,
        shard: int,
        vectors: np.ndarray,
        logits: np.ndarray | None = None,
        *,
        left_out: Sequence[int] = (),
        hashes: Sequence[str] | None = None,
        states: np.ndarray | None = None,
    ) -> None:
        """Writes a shard, whole or not at all.

        Args:
            shard: Its number.
            vectors: (items · views, d) float32; all views of an item together.
            logits: (items · views, classes), where the plan names classes.
            left_out: Numbers of items that could not be read: the table will not have them.
            hashes: A hash of the content of each item of the shard, those left out too.
            states: (items, 2) int64, size and time of change (in ns) of each one's file.

        Raises:
            UserError: Vectors are zero or not finite as they would be stored, or of another dimension than
                those of other shards (naming items); the disk is full.
            ValueError: The arrays have other shapes, or the table is finished.
        """
        if self.finished:
            raise ValueError(f"the table {str(self.directory)!r} is finished: no shard is pending")
        items, gone = self.items(shard), set(left_out)
        kept = [item for item in items if item not in gone]
        vectors = np.asarray(vectors, dtype=np.float32)
        views = self.plan.num_views
        self._check_shapes(len(kept), vectors, logits)

        def named(row: int) -> str:
            view = f" view {row % views}" if views > 1 else ""
            return f"{self.ids[kept[row // views]]!r}{view}"

        self._state.check_dim(vectors, named)
        check_rows(vectors, self.plan.dtype, named)
        tensors = stored(vectors, self.plan.dtype)
        if logits is not None:
            kind = "float32" if self.plan.dtype == "float32" else "float16"
            check_rows(logits, kind, named, what="logits")
            tensors["logits"] = np.asarray(logits, dtype=kind)
        if hashes is not None:
            if len(hashes) != len(items):
                raise ValueError(f"shard {shard} has {len(items)} items and got {len(hashes)} hashes")
            tensors["hashes"] = as_bytes(list(hashes))
        if states is not None:
            tensors["states"] = np.asarray(states, dtype=np.int64).reshape(len(items), 2)
        if self._uncounted + len(vectors) > 0:
            self.asked(self._uncounted + len(vectors))
        self._uncounted = 0
        self._write_exact(shard, vectors, kept)
        notes = {
            "plan": self._state.name,
            "shard": str(shard),
            "left_out": json.dumps(sorted(gone)),
            "unit": "yes" if all_unit_length(vectors) else "no",
        }
        with atomic_file(shard_path(self.directory, shard)) as draft:
            write_shard(draft, tensors, notes)

    def finish(self) -> Table:
        """Makes a table of the shards; by one process, once all of them are there.

        Raises:
            UserError: Some are missing (they are named), differ in their dimension, or hold no item at all.
        """
        if not self.finished:
            finish(self._state)
        self.close()
        return Table.open(self.directory)

    def close(self) -> None:
        """Lets others write; a place in which nothing was written is removed."""
        if self._tidy and not self.finished and not self._anything():
            shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _anything(self) -> bool:
        shards = self.directory / "shards"
        return (self.directory / QUERIES).exists() or (shards.is_dir() and any(shards.iterdir()))

    def _check_shapes(self, kept: int, vectors: np.ndarray, logits: np.ndarray | None) -> None:
        rows = kept * self.plan.num_views
        if vectors.ndim != 2 or len(vectors) != rows:
            raise ValueError(f"the shard needs ({rows}, d) vectors, not {vectors.shape}")
        classes = self.plan.classes
        if (logits is None) != (classes is None) or (
            logits is not None and classes is not None and logits.shape != (rows, len(classes))
        ):
            shape = None if logits is None else logits.shape
            wanted = None if classes is None else (rows, len(classes))
            raise ValueError(f"the plan needs logits of shape {wanted}, not {shape}")

    def _write_exact(self, shard: int, vectors: np.ndarray, kept: list[int]) -> None:
        """Keeps a few of the original vectors until the table is finished, to measure what was lost."""
        if self.plan.dtype == "float32":
            return
        items = self.items(shard)
        chosen = {items.start + place for place in sampled(items.start, len(items), len(self.ids)).tolist()}
        rows = np.array([row for row, item in enumerate(kept) if item in chosen], dtype=np.int64)
        tensors = {"rows": rows * self.plan.num_views, "vectors": vectors[rows * self.plan.num_views]}
        with atomic_file(exact_path(self.directory, shard)) as draft:
            write_shard(draft, tensors, {"plan": self._state.name})
