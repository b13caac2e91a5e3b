"""The one place that reads Parquet files, with one sentence for those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def read_parquet(path: Path, columns: Sequence[str] = (), *, cure: str = "write it again") -> pa.Table:
    """Reads a Parquet file.

    Args:
        path: The file.
        columns: Those that must be there; all others are read too.
        cure: What to do about a file that is no good.

    Raises:
        UserError: The file is missing, damaged, or lacks a column.
    """
    with open_parquet(path, cure=cure) as file:
        table = file.read()
    for name in columns:
        if name not in table.column_names:
            raise UserError(f"{str(path)!r} has no column {name!r}: {cure}")
    return table


@contextmanager
def open_parquet(path: Path, *, cure: str = "write it again") -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file, for those who do not want all of its columns.

    Args:
        path: The file.
        cure: What to do about a file that is no good.

    Raises:
        UserError: The file is missing, has a column twice, or is damaged, which may show only as it is read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise UserError(f"{str(path)!r} is missing: {cure}")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise UserError(f"{str(path)!r} has two columns {min(twice)!r}: {cure}")
            yield file
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{str(path)!r} is not a Parquet file that can be read ({reason}): {cure}") from error
