"""DeepFashion In-Shop Clothes Retrieval (Liu, Luo, Qiu, Wang and Tang, CVPR 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from understudy.data.layouts._boxes import fitted
from understudy.data.layouts._counts import check
from understudy.data.layouts._lists import AGAIN, find_root, images_under, number, read_list
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

PUBLISHED = {
    "train images": 25_882,
    "train items": 3_997,
    "query images": 14_218,
    "query items": 3_985,
    "gallery images": 12_612,
    "gallery items": 3_985,
}

_PARTITION = "Eval/list_eval_partition.txt"
_BOXES = "Anno/list_bbox_inshop.txt"
_SPLITS = ("train", "query", "gallery")
_INSIDE = ("In-shop Clothes Retrieval Benchmark", "In-shop_Clothes_Retrieval_Benchmark")


def recognises(path: Path) -> bool:
    """Whether a folder is as the archives of In-Shop unpack."""
    return (path / _PARTITION).exists()


def read(
    path: str | Path,
    *,
    boxes: bool = False,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Mapping[str, int] = PUBLISHED,
) -> Prepared:
    """Reads In-Shop Clothes Retrieval with its official division into train, query and gallery.

    Args:
        path: Holds ``Eval/list_eval_partition.txt``, ``img/`` (also inside ``Img/``) and, for boxes,
            ``Anno/list_bbox_inshop.txt``.
        boxes: Cut every garment out.
        partial: Go on with what is there.
        progress: Called with (done, total).
        expected: The published counts.

    Returns:
        The manifest; labels are the item ids.

    Raises:
        UserError: A list is missing or broken, or counts differ.
    """
    folder = find_root(path, (_PARTITION,), "In-Shop Clothes Retrieval", inside=_INSIDE)
    file = folder / _PARTITION
    listed = _listed(file, ("image", "item id", "split"))
    for name, _, split in listed:
        if split not in _SPLITS:
            raise UserError(f"{str(file)!r}: {name!r} has the split {split!r}, not one of {_SPLITS}: {AGAIN}")
    root = folder / "Img" if (folder / "Img" / "img").is_dir() else folder
    there = {f"img/{name}" for name in images_under(root / "img")}
    kept = [row for row in listed if row[0] in there]
    counts = {}
    for split in _SPLITS:
        items = [item for _, item, other in kept if other == split]
        counts[f"{split} images"] = len(items), expected[f"{split} images"]
        counts[f"{split} items"] = len(set(items)), expected[f"{split} items"]
    notes = check(folder, counts, absent=[row[0] for row in listed if row[0] not in there], partial=partial)
    paths = [name for name, _, _ in kept]
    found_boxes = None
    if boxes:
        found_boxes, more = fitted(root, paths, _boxes(folder / _BOXES, paths), progress)
        notes += more
    manifest = Manifest.of_paths(
        root,
        paths,
        labels=[item for _, item, _ in kept],
        splits=[split for _, _, split in kept],
        boxes=found_boxes,
    )
    return Prepared(manifest, notes=notes)


def _listed(file: Path, columns: tuple[str, ...]) -> list[list[str]]:
    """The rows of one of the archive's lists: a count, a line of names, then the rows."""
    rows = read_list(file, columns, header=2)
    said = number(file.read_text(encoding="utf-8-sig").splitlines()[0].strip(), file, "how many rows follow")
    if said != len(rows):
        raise UserError(f"{str(file)!r} promises {said:,} rows and lists {len(rows):,}: {AGAIN}")
    return rows


def _boxes(file: Path, paths: list[str]) -> np.ndarray:
    """Corners are pixels that belong to the box, counted from 1."""
    rows = {row[0]: row[3:] for row in _listed(file, ("image", "type", "pose", "x1", "y1", "x2", "y2"))}
    for path in paths:
        if path not in rows:
            raise UserError(f"{str(file)!r} has no box for {path!r}: {AGAIN}")
    corners = [[number(value, file, "corner") for value in rows[path]] for path in paths]
    boxes = np.array(corners, dtype=np.float64).reshape(-1, 4)
    boxes[:, :2] -= 1
    return boxes
