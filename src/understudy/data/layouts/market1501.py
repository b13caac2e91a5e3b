"""Market-1501 (Zheng, Shen, Tian, Wang, Wang and Tian, ICCV 2015)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from understudy.data.images import list_images
from understudy.data.layouts._counts import check
from understudy.data.layouts._lists import AGAIN, find_root
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

PUBLISHED = {
    "images in bounding_box_train": 12_936,
    "identities in bounding_box_train": 751,
    "images in query": 3_368,
    "identities in query": 750,
    "images in bounding_box_test": 19_732,
    "identities in bounding_box_test": 750,
    "distractors (0000) in bounding_box_test": 2_798,
    "junk images (-1) in bounding_box_test": 3_819,
    "images in gt_bbox": 25_259,
    "identities in gt_bbox": 1_501,
}

DISTRACTOR, JUNK = "0000", "-1"

_SPLITS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
_DRAWN = "gt_bbox"
_NAME = re.compile(r"(-1|\d{4})_c(\d+)s\d+_")


class _Image(NamedTuple):
    path: str
    identity: str
    camera: str


def recognises(path: Path) -> bool:
    """Whether a folder is as Market-1501's archive unpacks."""
    return all((path / part).is_dir() for part in _SPLITS)


def read(path: str | Path, *, partial: bool = False, expected: Mapping[str, int] = PUBLISHED) -> Prepared:
    """Reads Market-1501: train, query, gallery, and the images for multi-query.

    Junk images (identity -1) are left out, for a ranking passes over them. Distractors (0000) stay in the
    gallery under a label that no query has. Of the hand-drawn boxes in ``gt_bbox`` those of the identity and
    camera of some query become ``multi_query``.

    Args:
        path: Holds ``bounding_box_train``, ``query``, ``bounding_box_test``; for multi-query ``gt_bbox``.
        partial: Go on with what is there.
        expected: The published counts.

    Returns:
        The manifest; labels are the identities, cameras the numbers behind ``c``.

    Raises:
        UserError: A folder is missing, a file is not named as it should be, or counts differ.
    """
    folder = find_root(path, tuple(_SPLITS), "Market-1501", inside=("Market-1501-v15.09.15",))
    parts = {part: _images(folder, part) for part in _SPLITS}
    drawn = _images(folder, _DRAWN) if (folder / _DRAWN).is_dir() else None
    counts: dict[str, tuple[int, int]] = {}
    for part, images in (parts if drawn is None else parts | {_DRAWN: drawn}).items():
        known = {image.identity for image in images} - {DISTRACTOR, JUNK}
        counts[f"images in {part}"] = len(images), expected[f"images in {part}"]
        counts[f"identities in {part}"] = len(known), expected[f"identities in {part}"]
    for kind, identity in (("distractors (0000)", DISTRACTOR), ("junk images (-1)", JUNK)):
        name = f"{kind} in bounding_box_test"
        found = sum(image.identity == identity for image in parts["bounding_box_test"])
        counts[name] = found, expected[name]
    notes = check(folder, counts, partial=partial)
    rows = [
        (image, split) for part, split in _SPLITS.items() for image in parts[part] if image.identity != JUNK
    ]
    junk = sum(map(len, parts.values())) - len(rows)
    notes.append(f"{junk:,} junk images (identity -1) are left out: a ranking passes over them")
    if drawn is None:
        notes.append(f"there is no {_DRAWN!r}, so multi-query evaluation has nothing to work with")
    else:
        queries = {(image.identity, image.camera) for image in parts["query"]}
        rows += [(image, "multi_query") for image in drawn if (image.identity, image.camera) in queries]
    manifest = Manifest.of_paths(
        folder,
        [image.path for image, _ in rows],
        labels=[image.identity for image, _ in rows],
        splits=[split for _, split in rows],
        cameras=[image.camera for image, _ in rows],
    )
    return Prepared(manifest, notes=notes)


def _images(folder: Path, part: str) -> list[_Image]:
    found = []
    for path in list_images(folder / part):
        match = _NAME.match(path.name)
        if match is None:
            raise UserError(
                f"{str(path)!r} is not named as an image of Market-1501 (0002_c1s1_000451_03.jpg): {AGAIN}"
            )
        found.append(_Image(f"{part}/{path.name}", match[1], match[2]))
    return found
