"""One shard: its pixels, and the piece of the index that says it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from understudy.data.decoding import Progress, decode_into
from understudy.data.store.places import part_name, shard_name
from understudy.data.store.plan import Plan
from understudy.data.store.sources import NO_FILE, bytes_hash, content_hash, state
from understudy.errors import UserError
from understudy.files import atomic_file

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

    from understudy.data.dataset import Dataset

CHECKSUM = b"checksum"


def write_shard(
    dataset: Dataset,
    plan: Plan,
    shard: int,
    place: Path,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Decodes the images of a shard and writes it, whole or not at all: the pixels first, then their record.

    An image that cannot be read leaves zeros in its place and the reason in the record.

    Args:
        dataset: Opens the images.
        plan: What goes where.
        shard: Its number.
        place: The store.
        threads: How many decode.
        progress: Called with (done, total) images of the shard.

    Raises:
        UserError: The disk is full.
    """
    manifest, rows = plan.manifest, plan.rows(shard)
    channels, height, width = plan.form.shape
    content = np.zeros((len(rows), plan.form.line), dtype=np.uint8)
    strides = (plan.form.line, height * width, width, 1)
    pixels: np.ndarray = np.ndarray((len(rows), *plan.form.shape), np.uint8, content.data, strides=strides)
    states = np.full((len(rows), 2), NO_FILE, dtype=np.int64)
    hashes = [""] * len(rows)

    def read(row: int) -> Image.Image:
        path, place_in_shard = manifest.path(row), row - int(rows[0])
        states[place_in_shard] = found = state(path)
        image = dataset.image(row, channels)
        try:
            alone = image if found[0] == NO_FILE[0] else None
            hashes[place_in_shard] = content_hash(path, manifest.box(row), alone)
        except OSError as error:
            raise UserError(f"{str(path)!r} cannot be read again ({error.strerror})") from error
        return image

    reasons = decode_into(
        pixels,
        read,
        rows,
        mode=plan.form.mode,
        interpolation=plan.form.interpolation,
        workers=threads,
        progress=progress,
    )
    record = _record(plan, shard, hashes, states, reasons)
    (place / part_name(plan.name, shard)).unlink(missing_ok=True)
    with atomic_file(place / shard_name(plan.name, shard)) as draft, draft.open("wb") as file:
        file.write(content.data)
    write_part(record.replace_schema_metadata({CHECKSUM: bytes_hash(content)}), plan, shard, place)


def _record(
    plan: Plan, shard: int, hashes: list[str], states: np.ndarray, reasons: dict[int, str]
) -> pa.Table:
    import pyarrow as pa

    manifest, rows = plan.manifest, plan.rows(shard).tolist()
    return pa.table(
        {
            "id": pa.array([manifest.ids[row] for row in rows], pa.string()),
            "path": pa.array([manifest.paths[row] for row in rows], pa.string()),
            "box": pa.array([box_text(manifest.box(row)) for row in rows], pa.string()),
            "shard": pa.array([shard] * len(rows), pa.int32()),
            "position": pa.array(range(len(rows)), pa.int32()),
            "hash": pa.array(hashes, pa.string()),
            "size": pa.array(states[:, 0]),
            "mtime_ns": pa.array(states[:, 1]),
            "reason": pa.array([reasons.get(number, "") for number in range(len(rows))], pa.string()),
        }
    )


def box_text(box: tuple[int, int, int, int] | None) -> str:
    """A box as the index and manifests write it; empty for the whole image."""
    return "" if box is None else " ".join(map(str, box))


def write_part(record: pa.Table, plan: Plan, shard: int, place: Path) -> None:
    """Says that a shard is whole; ``record`` carries its checksum as metadata."""
    import pyarrow.parquet as pq

    with atomic_file(place / part_name(plan.name, shard)) as draft:
        pq.write_table(record, draft)


def read_part(plan: Plan, shard: int, place: Path) -> pa.Table | None:
    """The record of a shard that is there; None where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(place / part_name(plan.name, shard))
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def still_true(record: pa.Table, plan: Plan, shard: int, place: Path) -> bool:
    """Whether a shard is as long as it should be and no file it was made from has changed since."""
    file, rows = place / shard_name(plan.name, shard), plan.rows(shard)
    if state(file)[0] != len(rows) * plan.form.line or len(record) != len(rows):
        return False
    then = zip(record["size"].to_pylist(), record["mtime_ns"].to_pylist(), strict=True)
    return all(state(plan.manifest.path(row)) == old for row, old in zip(rows.tolist(), then, strict=True))
