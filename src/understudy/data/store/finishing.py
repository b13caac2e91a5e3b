"""What is written when all shards are there."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy._version import __version__
from understudy.data.decoding import refuse_unreadable
from understudy.data.store.places import FACTS, INDEX, UNREADABLE, shard_name
from understudy.data.store.plan import FORMAT, Plan, versions
from understudy.data.store.shards import CHECKSUM
from understudy.data.store.sources import bytes_hash
from understudy.errors import UserError
from understudy.files import atomic_file, write_json

if TYPE_CHECKING:
    import pyarrow as pa


def list_unreadable(
    place: Path, records: dict[int, pa.Table], *, skip: bool, say: Callable[[str], None] | None
) -> None:
    """Lists the images that cannot be read in a file, and stops unless they are to be left out.

    Args:
        place: The store.
        records: Of all shards.
        skip: Leave them out.
        say: Told which are left out.

    Raises:
        UserError: There are some, and they are not to be left out, or no other image is left.
    """
    import pyarrow as pa

    index = pa.concat_tables([records[shard] for shard in sorted(records)])
    reasons = {row: reason for row, reason in enumerate(index["reason"].to_pylist()) if reason}
    if not reasons:
        (place / UNREADABLE).unlink(missing_ok=True)
        return
    paths = index["path"].to_pylist()
    with atomic_file(place / UNREADABLE) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("file", "reason"))
        writer.writerows((paths[row], reason) for row, reason in reasons.items())
    try:
        refuse_unreadable(reasons, len(index), skip=skip, say=say)
    except UserError as error:
        raise UserError(f"{error}; all are listed in {str(place / UNREADABLE)!r}") from None


def finish(place: Path, plan: Plan, records: dict[int, pa.Table]) -> None:
    """Writes the index, then the facts that make it a store."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = [records[shard] for shard in range(plan.shards)]
    index = pa.concat_tables(record.replace_schema_metadata(None) for record in ordered).combine_chunks()
    with atomic_file(place / INDEX) as draft:
        pq.write_table(index, draft)
    facts: dict[str, Any] = {
        "format": FORMAT,
        "plan": plan.name,
        "form": plan.form._asdict(),
        "images": len(index),
        "unreadable": sum(map(bool, index["reason"].to_pylist())),
        "images_in_shard": plan.images,
        "line_bytes": plan.form.line,
        "shards": [
            {
                "file": shard_name(plan.name, shard),
                "images": len(record),
                "bytes": len(record) * plan.form.line,
                "checksum": record.schema.metadata[CHECKSUM].decode(),
            }
            for shard, record in enumerate(ordered)
        ],
        "index_checksum": bytes_hash((place / INDEX).read_bytes()),
        "versions": {"understudy": __version__, **versions()},
    }
    write_json(place / FACTS, facts)
