"""Manifests written to files that read back as they were."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from understudy.data.manifest import Manifest
from understudy.data.manifest_files import check_ending, default_ids
from understudy.files import atomic_file


def write_manifest(manifest: Manifest, path: Path) -> None:
    """See `understudy.data.manifest.Manifest.save`."""
    check_ending(path)
    columns = _as_columns(manifest, path.absolute().parent)
    with atomic_file(path) as draft:
        if path.suffix.lower() == ".csv":
            with draft.open("w", encoding="utf-8", newline="") as file:
                plain = csv.writer(file, lineterminator="\n")
                # Before Python 3.13 csv leaves a lone carriage return bare, which then ends a row.
                quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
                plain.writerow(columns)
                for row in zip(*columns.values(), strict=True):
                    (quoted if any("\r" in field for field in row) else plain).writerow(row)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), draft)


def _as_columns(manifest: Manifest, folder: Path) -> dict[str, Sequence[str]]:
    if manifest.texts is None:
        items = tuple(_written(manifest.root, path, folder) for path in manifest.paths)
        columns: dict[str, Sequence[str]] = {"path": items}
    else:
        items = manifest.texts
        columns = {"text": items}
    if manifest.ids != default_ids(items, manifest.boxes):
        columns["id"] = manifest.ids
    columns |= {"label": manifest.labels, "split": manifest.splits}
    if manifest.cameras is not None:
        columns["camera"] = manifest.cameras
    if manifest.boxes is not None:
        columns["box"] = [" ".join(map(str, box)) if box[0] >= 0 else "" for box in manifest.boxes.tolist()]
    return columns


def _written(root: Path, path: str, folder: Path) -> str:
    """A path as a manifest in ``folder`` names it."""
    if root.absolute() == folder or Path(path).is_absolute():
        return path
    full = Path(os.path.normpath(root.absolute() / path))
    return full.relative_to(folder).as_posix() if full.is_relative_to(folder) else str(full)
