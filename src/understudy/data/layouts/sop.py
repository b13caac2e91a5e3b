"""Stanford Online Products (Song, Xiang, Jegelka and Savarese, CVPR 2016)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from understudy.data.layouts._counts import check
from understudy.data.layouts._lists import AGAIN, find_root, images_under, read_list
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

PUBLISHED = {
    "training images": 59_551,
    "training classes": 11_318,
    "test images": 60_502,
    "test classes": 11_316,
}

_LISTS = {"Ebay_train.txt": ("training", "train"), "Ebay_test.txt": ("test", "test")}
_COLUMNS = ("image id", "class id", "super class id", "path")


def recognises(path: Path) -> bool:
    """Whether a folder is as the archive of Stanford Online Products unpacks."""
    return any((path / name).exists() for name in _LISTS)


def read(path: str | Path, *, partial: bool = False, expected: Mapping[str, int] = PUBLISHED) -> Prepared:
    """Reads Stanford Online Products with its official lists.

    Args:
        path: Holds ``Ebay_train.txt``, ``Ebay_test.txt`` and a folder for each of twelve kinds of product.
        partial: Go on with what is there.
        expected: The published counts.

    Returns:
        The manifest; labels are the class ids, one for each product.

    Raises:
        UserError: A list is missing or broken, a class is in both, or counts differ.
    """
    folder = find_root(path, tuple(_LISTS), "Stanford Online Products", inside=("Stanford_Online_Products",))
    there = images_under(folder)
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    absent: list[str] = []
    counts: dict[str, tuple[int, int]] = {}
    for file, (kind, split) in _LISTS.items():
        listed = read_list(folder / file, _COLUMNS, header=1, unique=(0, 3))
        kept = [(label, name) for _, label, _, name in listed if name in there]
        absent += [name for _, _, _, name in listed if name not in there]
        counts[f"{kind} images"] = len(kept), expected[f"{kind} images"]
        counts[f"{kind} classes"] = len({label for label, _ in kept}), expected[f"{kind} classes"]
        both = {label for label, _ in kept} & set(labels)
        if both:
            raise UserError(f"the class {min(both)} is in both lists of {str(folder)!r}: {AGAIN}")
        paths += [name for _, name in kept]
        labels += [label for label, _ in kept]
        splits += [split] * len(kept)
    notes = check(folder, counts, absent=absent, partial=partial)
    return Prepared(Manifest.of_paths(folder, paths, labels=labels, splits=splits), notes=notes)
