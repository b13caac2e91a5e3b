"""The embedding table: stored answers of a teacher and the ids they belong to, in a directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.table.checks import few
from understudy.data.table.index import Index, read_facts
from understudy.data.table.shards import AGAIN, Shard, map_shard, shard_path
from understudy.errors import UserError

Numbers = np.ndarray | Sequence[int]


class Table:
    """Vectors on disk, read by number; nothing but the ids is held in memory.

    Ids are joined to row numbers once, by `rows`; from then on reading is by number. View v of item i lies in
    line ``i · num_views + v`` of the shards, one behind the other.

    Attributes:
        directory: Where it is.
        ids: The id of each item.
        hashes: The content hash of each item, or None.
        states: (n, 2) int64, size and time of change (in ns) of each item's file then; or None.
        view_rows: (n,) int64, the manifest row that each item's views were drawn for; or None.
        teacher: Who made the vectors.
        dim: The length of a vector.
        dtype: How they are stored: ``float32``, ``float16`` or ``int8``.
        num_views: Views of each item.
        recipe: What varies between views, as plain values of an `Augmentation`; None: the one view is the
            clean item.
        view_seed: The seed of the views.
        normalised: Whether every vector has length 1 (found when they were written).
        metadata: What else the writer said.
        classes: The classes that stored logits are about; None: there are none.
        neighbour_agreement: The share of the ten nearest neighbours that stored and original vectors have in
            common, for float16 and int8; see `understudy.data.table.agreement`.
        queries: How many images × views the teacher was asked about.

    Example:
        >>> import tempfile
        >>> from understudy.data.table import write_table
        >>> place = Path(tempfile.mkdtemp()) / "table"
        >>> vectors = np.array([[1, 0], [0, 1], [3, 4]], dtype=np.float32)
        >>> table = write_table(place, vectors, ["a.png", "b.png", "c.png"], metadata={"teacher": "vit"})
        >>> table = Table.open(place)
        >>> table.read(table.rows(["c.png", "a.png"])).tolist()
        [[3.0, 4.0], [1.0, 0.0]]
        >>> table.teacher, table.dim, len(table), table.normalised, table.queries
        ('vit', 2, 3, False, 3)
    """

    def __init__(
        self, directory: Path, shards: Sequence[Shard], index: Index, facts: Mapping[str, Any]
    ) -> None:
        self.directory = directory
        self.ids = index.ids
        self.hashes = index.hashes
        self.states = None if index.states is None else np.array(index.states, dtype=np.int64)
        self.view_rows = None if index.view_rows is None else np.array(index.view_rows, dtype=np.int64)
        self.teacher: str = facts["teacher"]
        self.dim: int = facts["dim"]
        self.dtype: str = facts["dtype"]
        self.num_views: int = facts["num_views"]
        self.recipe: dict[str, Any] | None = facts.get("recipe")
        self.view_seed: int = facts.get("view_seed", 0)
        self.normalised: bool = facts["normalised"]
        self.metadata: dict[str, Any] = facts["metadata"]
        classes = facts.get("classes")
        self.classes: tuple[str, ...] | None = None if classes is None else tuple(classes)
        self.neighbour_agreement: float | None = facts.get("neighbour_agreement")
        self.queries: int = facts["queries"]
        self._checksums: list[str] = facts["shards"]
        self._shards = shards
        self._parts = {name: [shard.tensors[name] for shard in shards] for name in _stored(facts)}
        lines = [len(part) for part in self._parts["vectors"]]
        self._starts = np.concatenate([[0], np.cumsum(lines)]).astype(np.int64)

    @classmethod
    def open(cls, directory: str | Path) -> Table:
        """Opens a table and checks that its files belong together.

        Raises:
            UserError: It is not a table, is of another format or not finished, or a file is missing,
                truncated or of another table.
        """
        directory = Path(directory)
        facts = read_facts(directory)
        index = Index.read(directory).kept()
        shards = []
        for number, known in enumerate(facts["shards"]):
            path = shard_path(directory, number)
            shard = map_shard(path)
            if shard.notes.get("checksum") != known:
                raise UserError(f"{str(path)!r} belongs to another table: {AGAIN}")
            shards.append(shard)
        found = len(index.ids), sum(len(shard.tensors["vectors"]) for shard in shards)
        wanted = facts["count"], facts["count"] * facts["num_views"]
        if found != wanted:
            raise UserError(
                f"the files of {str(directory)!r} do not belong together: table.json speaks of {wanted[0]} "
                f"items and {wanted[1]} vectors, and there are {found[0]} ids and {found[1]} vectors: {AGAIN}"
            )
        return cls(directory, shards, index, facts)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that is stored, and of whose it is."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([self.dim, self.num_views, self._checksums]).encode())
        digest.update("\0".join(self.ids).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The row number of each id, (len(ids),) int64; do this once, then `read` by number.

        Raises:
            UserError: Some ids are not in the table; the first few are named.
        """
        rows = self.find(ids)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            named = few([repr(ids[i]) for i in missing[:4].tolist()])
            raise UserError(
                f"{len(missing)} of {len(ids)} ids are not in the embedding table {str(self.directory)!r} "
                f"({named}): embed these items too, or leave them out of the data"
            )
        return rows

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """The same, with -1 for each id that is not in the table."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(pa.array(ids, pa.string()), value_set=pa.array(self.ids, pa.string()))
        rows: np.ndarray = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return rows

    def read(self, rows: Numbers, views: Numbers | int | None = None) -> np.ndarray:
        """The vectors of some items, in memory; no other is touched.

        Args:
            rows: (n,) row numbers, in any order and as often as wanted.
            views: Which view of each, (n,) or one for all; None: the first.

        Returns:
            (n, dim) float32.

        Raises:
            IndexError: There is no such row or view; none is counted from the end.
        """
        return self._read("vectors", self._lines(rows, views))

    def read_logits(self, rows: Numbers, views: Numbers | int | None = None) -> np.ndarray:
        """The logits, (n, len(classes)) float32; otherwise as `read`.

        Raises:
            UserError: The table has none.
        """
        if self.classes is None:
            raise UserError(
                f"the embedding table {str(self.directory)!r} has no logits: write it with --logits from a "
                "model that has a classifier, or use losses that need only embeddings"
            )
        return self._read("logits", self._lines(rows, views))

    def verify(self) -> None:
        """Reads everything and compares it with the checksums.

        Raises:
            UserError: Naming the first shard that is damaged.
        """
        for number, shard in enumerate(self._shards):
            if not shard.intact():
                path = shard_path(self.directory, number)
                raise UserError(f"{str(path)!r} is damaged (its checksum differs): {AGAIN}")

    def _lines(self, rows: Numbers, views: Numbers | int | None) -> np.ndarray:
        wanted = np.asarray(rows, dtype=np.int64)
        _refuse_outside(wanted, len(self), "rows")
        if self.num_views == 1 and views is None:
            return wanted
        numbers = np.asarray(0 if views is None else views, dtype=np.int64)
        _refuse_outside(numbers, self.num_views, "views")
        return np.atleast_1d(wanted * self.num_views + numbers)

    def _read(self, name: str, lines: np.ndarray) -> np.ndarray:
        width = self.dim if name == "vectors" else len(self.classes or ())
        out = np.empty((len(lines), width), dtype=np.float32)
        _gather(out, self._parts[name], self._starts, lines)
        if name == "vectors" and self.dtype == "int8":
            scales = np.empty(len(lines), dtype=np.float32)
            _gather(scales, self._parts["scales"], self._starts, lines)
            out *= scales[:, None]
        return out


def _stored(facts: Mapping[str, Any]) -> list[str]:
    """The tensors of a shard that have a line for each vector."""
    scales = ["scales"] if facts["dtype"] == "int8" else []
    return ["vectors", *scales, *(["logits"] if facts.get("classes") is not None else [])]


def _gather(out: np.ndarray, parts: Sequence[np.ndarray], starts: np.ndarray, lines: np.ndarray) -> None:
    """Copies lines of arrays that follow each other; lines that lie together are copied together.

    For a few hundred lines of a thousand files this is several times as fast as indexing each file once.
    """
    if not len(lines):
        return
    of = np.searchsorted(starts, lines, side="right") - 1
    edges = (np.flatnonzero((np.diff(lines) != 1) | (np.diff(of) != 0)) + 1).tolist()
    firsts, lasts = [0, *edges], [*edges, len(lines)]
    shards = of[firsts]
    begins = lines[firsts] - starts[shards]
    for first, last, shard, begin in zip(firsts, lasts, shards.tolist(), begins.tolist(), strict=True):
        out[first:last] = parts[shard][begin : begin + last - first]


def _refuse_outside(numbers: np.ndarray, count: int, what: str) -> None:
    if numbers.size and (numbers.min() < 0 or numbers.max() >= count):
        raise IndexError(f"{what} lie between 0 and {count - 1}, got {numbers.min()} … {numbers.max()}")
