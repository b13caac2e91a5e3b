"""The embedding table: stored vectors and the ids they belong to, in a directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from understudy.data.table_checks import all_unit_length, check_ids, check_rows, few
from understudy.data.table_files import map_vectors, read_ids, read_json, write_ids, write_vectors
from understudy.errors import UserError
from understudy.files import atomic_directory

FORMAT = 1
"""The number of the form that tables have; another one is refused."""

_FACTS = {
    "format": int,
    "teacher": str,
    "count": int,
    "dim": int,
    "dtype": str,
    "normalised": bool,
    "metadata": dict,
}


class Table:
    """Vectors on disk, read by row number; nothing but the ids is held in memory.

    Ids are joined to row numbers once, by `rows`; from then on reading is by number.

    Attributes:
        directory: Where it is.
        ids: The id of each row.
        hashes: The content hash of each row's item, or None.
        teacher: Who made the vectors.
        normalised: Whether every vector has length 1 (found when they were written).
        metadata: What else the writer said.
        vectors: (n, d) memory-mapped, read-only, float32 or float16.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "table"
        >>> vectors = np.array([[1, 0], [0, 1], [3, 4]], dtype=np.float32)
        >>> table = write_table(place, vectors, ["a.png", "b.png", "c.png"], metadata={"teacher": "vit"})
        >>> table = Table.open(place)
        >>> table.read(table.rows(["c.png", "a.png"])).tolist()
        [[3.0, 4.0], [1.0, 0.0]]
        >>> table.teacher, table.dim, len(table), table.normalised
        ('vit', 2, 3, False)
    """

    def __init__(
        self,
        directory: Path,
        vectors: np.ndarray,
        ids: tuple[str, ...],
        hashes: tuple[str, ...] | None,
        facts: Mapping[str, Any],
    ) -> None:
        self.directory = directory
        self.vectors = vectors
        self.ids = ids
        self.hashes = hashes
        self.teacher: str = facts["teacher"]
        self.normalised: bool = facts["normalised"]
        self.metadata: dict[str, Any] = facts["metadata"]

    @classmethod
    def open(cls, directory: str | Path) -> Table:
        """Opens a table and checks that its files belong together.

        Raises:
            UserError: It is not a table, is of another format, or a file is missing, truncated or of
                another size than the rest.
        """
        directory = Path(directory)
        facts = read_json(directory, "table.json")
        wrong = [key for key, kind in _FACTS.items() if not isinstance(facts.get(key), kind)]
        if facts.get("format") != FORMAT and "format" not in wrong:
            raise UserError(
                f"{str(directory)!r} is an embedding table of format {facts['format']} and this version "
                f"reads format {FORMAT}: install the understudy that wrote it, or write the table again"
            )
        if wrong:
            raise UserError(
                f"{str(directory / 'table.json')!r} lacks {', '.join(wrong)}: write the table again"
            )
        vectors = map_vectors(directory / "vectors.safetensors")
        ids, hashes = read_ids(directory / "ids.parquet")
        found = (*vectors.shape, len(ids), str(vectors.dtype))
        wanted = (facts["count"], facts["dim"], facts["count"], facts["dtype"])
        if found != wanted:
            raise UserError(
                f"the files of {str(directory)!r} do not belong together: table.json speaks of {wanted[0]} "
                f"vectors of {wanted[1]} × {wanted[3]}, and there are {found[0]} of {found[1]} × {found[3]} "
                f"with {found[2]} ids: write the table again"
            )
        return cls(directory, vectors, ids, hashes, facts)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """The row number of each id, (len(ids),) int64; do this once, then `read` by number.

        Raises:
            UserError: Some ids are not in the table; the first few are named.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(pa.array(ids, pa.string()), value_set=pa.array(self.ids, pa.string()))
        rows: np.ndarray = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        missing = np.flatnonzero(rows < 0)
        if len(missing):
            named = few([repr(ids[i]) for i in missing.tolist()])
            raise UserError(
                f"{len(missing)} of {len(ids)} ids are not in the embedding table {str(self.directory)!r} "
                f"({named}): embed these items too, or leave them out of the data"
            )
        return rows

    def read(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """The vectors of some rows, (len(rows), dim) float32, in memory; no other row is touched.

        Raises:
            IndexError: A row is not in the table; negative rows are not counted from the end.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"rows lie between 0 and {len(self) - 1}, got {wanted.min()} … {wanted.max()}")
        return np.asarray(self.vectors[wanted], dtype=np.float32)


def write_table(
    directory: str | Path,
    vectors: np.ndarray | Tensor,
    ids: Sequence[str],
    *,
    metadata: Mapping[str, Any],
    hashes: Sequence[str] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
) -> Table:
    """Writes an embedding table, whole or not at all.

    Args:
        directory: Where it is to stand.
        vectors: (n, d) floating point.
        ids: The id of each row, no two alike.
        metadata: ``teacher``, who made the vectors, and whatever else JSON can hold.
        hashes: A hash of each item's content, to notice later that it changed.
        dtype: How to store the numbers; float16 halves the size.
        overwrite: Replace what stands there.

    Returns:
        The table, opened.

    Raises:
        UserError: The place is taken, rows are zero or not finite (in ``dtype``), ids repeat, numbers differ.
        ValueError: ``vectors`` is not a floating-point matrix, or ``metadata`` names no teacher.
    """
    array = vectors.detach().cpu().float().numpy() if isinstance(vectors, Tensor) else np.asarray(vectors)
    if array.ndim != 2 or 0 in array.shape or not np.issubdtype(array.dtype, np.floating):
        raise ValueError(
            f"vectors must be a floating-point (rows, dim) matrix, got {array.dtype} of shape {array.shape}"
        )
    teacher = metadata.get("teacher")
    if not teacher:
        raise ValueError("metadata must name the teacher: {'teacher': 'who made the vectors', ...}")
    check_ids(ids, hashes, len(array))
    check_rows(array, np.dtype(dtype))
    facts = {
        "format": FORMAT,
        "teacher": str(teacher),
        "count": len(array),
        "dim": array.shape[1],
        "dtype": dtype,
        "normalised": all_unit_length(array),
        "metadata": {key: value for key, value in metadata.items() if key != "teacher"},
    }
    with atomic_directory(directory, overwrite=overwrite) as draft:
        write_vectors(draft / "vectors.safetensors", array.astype(dtype, copy=False))
        write_ids(draft / "ids.parquet", ids, hashes)
        (draft / "table.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return Table.open(directory)
