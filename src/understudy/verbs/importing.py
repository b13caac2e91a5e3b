"""The verb that makes a table of vectors that are stored elsewhere: import_table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from understudy.data import Dataset, Manifest, open_dataset
from understudy.data.table import Table, TablePlan, TableWriter
from understudy.data.table.checks import check_ids, few
from understudy.data.table.content import content_hashes, file_states
from understudy.data.table.incoming import open_vectors
from understudy.data.table.plan import Dtype
from understudy.errors import UserError
from understudy.files import atomic_directory
from understudy.training.progress import Reporter


def import_table(
    source: str | Path,
    out: str | Path,
    *,
    teacher: str,
    ids: str | None = None,
    column: str | None = None,
    data: str | Path | Manifest | None = None,
    split: str | None = None,
    dtype: Dtype = "float32",
    reporter: Reporter | None = None,
) -> Table:
    """Makes an embedding table of vectors that are stored elsewhere, whole or not at all.

    Vectors are read and written a few thousand at a time, so neither they nor the table need fit in memory.

    Args:
        source: A ``.npy`` matrix, a ``.parquet`` or ``.csv`` file, or a HuggingFace data set on disk; see
            `understudy.data.table.incoming.open_vectors`.
        out: The table to write.
        teacher: Who made the vectors: what reports call it.
        ids: For a matrix the file of its ids, else the name of their column.
        column: The column of the vectors.
        data: The images that the vectors are of. All of them must have one; with them the table can notice
            later that an image has changed.
        split: Only this split of the images must have vectors.
        dtype: How to store the numbers: ``float32``, ``float16`` or ``int8``.
        reporter: Shown the progress.

    Returns:
        The table.

    Raises:
        UserError: ``out`` exists, the source cannot be read, ids repeat or images have no vector, or vectors
            are of several lengths, not finite, or zero; the first few are named.
    """
    out, reporter = Path(out), reporter or Reporter(quiet=True)
    if out.exists():
        raise UserError(f"{str(out)!r} exists already: pass another place for the table or remove it first")
    if split is not None and data is None:
        raise UserError("--split says which images must have vectors: pass them too (--data)")
    incoming = open_vectors(source, ids=ids, column=column)
    names = incoming.ids
    if not names:
        raise UserError(f"{str(source)!r} holds no vectors: pass another file")
    check_ids(names, None, len(names))
    dataset = None if data is None else open_dataset(data)
    rows = None if dataset is None else _rows(dataset, split, names, source)
    plan = TablePlan(teacher, dtype=dtype, metadata={"source": str(source)})
    reporter.start("import", total=len(names))
    with atomic_directory(out) as draft, TableWriter.open(draft, names, plan=plan) as writer:
        parts = _cut(incoming.blocks(), [len(writer.items(shard)) for shard in range(writer.shards)])
        for shard, vectors in enumerate(parts):
            items = writer.items(shard)
            if dataset is None or rows is None:
                writer.write(shard, vectors)
            else:
                hashes, states = _content(dataset, rows[items.start : items.stop])
                writer.write(shard, vectors, hashes=hashes, states=states)
            reporter.tick(items.stop, len(names))
        writer.finish()
    reporter.stop()
    return Table.open(out)


def _rows(dataset: Dataset, split: str | None, names: Sequence[str], source: str | Path) -> np.ndarray:
    """The manifest row of each vector; -1 where it is of none of the images."""
    wanted = dataset.manifest.ids
    must = range(len(wanted)) if split is None else dataset.manifest.rows(split).tolist()
    there = set(names)
    missing = [wanted[row] for row in must if wanted[row] not in there]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(must)} images of {dataset.name!r} have no vector in {str(source)!r} "
            f"({few([repr(name) for name in missing])}; its ids are {few([repr(name) for name in names])}): "
            "make the ids those of the images, or leave these images out"
        )
    row_of = {name: row for row, name in enumerate(wanted)}
    return np.array([row_of.get(name, -1) for name in names], dtype=np.int64)


def _content(dataset: Dataset, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Hashes and states of some images; nothing is known where a row is -1."""
    known = np.flatnonzero(rows >= 0)
    hashes, states = [""] * len(rows), np.full((len(rows), 2), -1, dtype=np.int64)
    states[known] = file_states(dataset, rows[known].tolist())
    for place, text in zip(known.tolist(), content_hashes(dataset, rows[known].tolist()), strict=True):
        hashes[place] = text
    return hashes, states


def _cut(blocks: Iterator[np.ndarray], sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Blocks of vectors, cut into pieces of other sizes.

    Raises:
        UserError: A block has vectors of another length, or there are more or fewer than the ids.
    """
    held: list[np.ndarray] = []
    for size in sizes:
        while sum(map(len, held)) < size:
            block = next(blocks, None)
            if block is None:
                raise UserError("the source has fewer vectors than ids: write it again")
            held.append(block)
        together = np.concatenate(held) if len(held) > 1 else held[0]
        held = [together[size:].copy()]  # a view would keep what was written in memory
        yield together[:size]
    if len(held[0]) or next(blocks, None) is not None:
        raise UserError("the source has more vectors than ids: write it again")
