"""The one place that reads Parquet files, with one sentence for those that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, columns: Sequence[str] = (), *, cure: str = "write it again") -> pa.Table:
    """Reads a Parquet file.

    Args:
        path: The file.
        columns: Those that must be there; all others are read too.
        cure: What to do about a file that is no good.

    Raises:
        UserError: The file is missing, damaged, or lacks a column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{str(path)!r} is missing: {cure}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{str(path)!r} is not a Parquet file that can be read ({reason}): {cure}") from error
    for name in columns:
        if name not in table.column_names:
            raise UserError(f"{str(path)!r} has no column {name!r}: {cure}")
    return table
