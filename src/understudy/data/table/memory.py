"""A table of vectors that are all in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from understudy.data.table.checks import check_ids, check_rows
from understudy.data.table.index import FACTS
from understudy.data.table.plan import Dtype, TablePlan
from understudy.data.table.table import Table
from understudy.data.table.writing import TableWriter
from understudy.files import atomic_directory


def write_table(
    directory: str | Path,
    vectors: np.ndarray | Tensor,
    ids: Sequence[str],
    *,
    metadata: Mapping[str, Any],
    hashes: Sequence[str] | None = None,
    dtype: Dtype = "float32",
    overwrite: bool = False,
) -> Table:
    """Writes an embedding table, whole or not at all, one clean view an item.

    Args:
        directory: Where it is to stand.
        vectors: (n, d) floating point.
        ids: The id of each row, no two alike.
        metadata: ``teacher``, who made the vectors, and whatever else JSON can hold.
        hashes: A hash of each item's content, to notice later that it changed.
        dtype: How to store the numbers; float16 halves the size, int8 quarters it.
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
    rest = {key: value for key, value in metadata.items() if key != "teacher"}
    plan = TablePlan(str(teacher), array.shape[1], dtype, metadata=rest)
    check_ids(ids, hashes, len(array))
    check_rows(array, dtype)
    with (
        atomic_directory(directory, overwrite=overwrite, last=FACTS) as draft,
        TableWriter.open(draft, ids, plan=plan, hashes=hashes) as writer,
    ):
        for shard in range(writer.shards):
            items = writer.items(shard)
            writer.write(shard, array[items.start : items.stop])
        writer.finish()
    return Table.open(directory)
