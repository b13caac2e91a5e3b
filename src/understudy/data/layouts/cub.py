"""CUB-200-2011 (Wah, Branson, Welinder, Perona and Belongie, 2011)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from understudy.data.layouts._boxes import fitted
from understudy.data.layouts._counts import check
from understudy.data.layouts._lists import AGAIN, find_root, images_under, number, read_list
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

PUBLISHED = {
    "training images": 5_864,
    "training classes": 100,
    "test images": 5_924,
    "test classes": 100,
}

_LAST_TRAINING_CLASS = 100
_HOLDS = ("images.txt", "image_class_labels.txt", "images")


def recognises(path: Path) -> bool:
    """Whether a folder is as CUB's archive unpacks."""
    return all((path / part).exists() for part in _HOLDS)


def read(
    path: str | Path,
    *,
    boxes: bool = False,
    last_training_class: int = _LAST_TRAINING_CLASS,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Mapping[str, int] = PUBLISHED,
) -> Prepared:
    """Reads CUB-200-2011 with the split of metric learning: classes 1 to 100 to train, 101 to 200 to test.

    The archive's own ``train_test_split.txt``, which divides every class, is for classification and is not
    used.

    Args:
        path: Holds ``images.txt``, ``image_class_labels.txt``, ``images/`` and, for boxes,
            ``bounding_boxes.txt``.
        boxes: Cut every bird out.
        last_training_class: The number of the last class to train on; with another than 100 the two parts are
            counted together.
        partial: Go on with what is there.
        progress: Called with (done, total).
        expected: The published counts.

    Returns:
        The manifest; labels are the names of the images' folders.

    Raises:
        UserError: The lists are missing, incomplete or contradict each other, or counts differ.
    """
    folder = find_root(path, _HOLDS, "CUB-200-2011", inside=("CUB_200_2011",))
    labels_file = folder / "image_class_labels.txt"
    class_of = {
        image: number(label, labels_file, "class")
        for image, label in read_list(labels_file, ("image id", "class"))
    }
    listed = read_list(folder / "images.txt", ("image id", "path"), unique=(0, 1))
    _check_classes(labels_file, listed, class_of)
    there = images_under(folder / "images")
    kept = [(image, name) for image, name in listed if name in there]
    splits = ["train" if class_of[image] <= last_training_class else "test" for image, _ in kept]
    labels = [PurePosixPath(name).parent.name for _, name in kept]
    notes = check(
        folder,
        _counts(labels, splits, expected, official=last_training_class == _LAST_TRAINING_CLASS),
        absent=[f"images/{name}" for _, name in listed if name not in there],
        partial=partial,
    )
    paths = [f"images/{name}" for _, name in kept]
    found_boxes = None
    if boxes:
        found_boxes, more = fitted(folder, paths, _boxes(folder, [image for image, _ in kept]), progress)
        notes += more
    return Prepared(
        Manifest.of_paths(folder, paths, labels=labels, splits=splits, boxes=found_boxes), notes=notes
    )


def _counts(
    labels: list[str], splits: list[str], expected: Mapping[str, int], *, official: bool
) -> dict[str, tuple[int, int]]:
    """What is there and what was published, of each part or, where they are others, of both together."""
    if not official:
        return {
            what: (found, expected[f"training {what}"] + expected[f"test {what}"])
            for what, found in (("images", len(labels)), ("classes", len(set(labels))))
        }
    counts = {}
    for kind, split in (("training", "train"), ("test", "test")):
        inside = [label for label, other in zip(labels, splits, strict=True) if other == split]
        counts[f"{kind} images"] = len(inside), expected[f"{kind} images"]
        counts[f"{kind} classes"] = len(set(inside)), expected[f"{kind} classes"]
    return counts


def _check_classes(file: Path, listed: list[list[str]], class_of: Mapping[str, int]) -> None:
    """Each class must be one folder, and each folder one class."""
    folder_of: dict[int, str] = {}
    number_of: dict[str, int] = {}
    for image, name in listed:
        if image not in class_of:
            raise UserError(f"{str(file)!r} has no class for the image {image} ({name!r}): {AGAIN}")
        label, folder = class_of[image], PurePosixPath(name).parent.name
        if folder_of.setdefault(label, folder) != folder or number_of.setdefault(folder, label) != label:
            raise UserError(
                f"{str(file)!r} gives {name!r} the class {label}, which is {folder_of[label]!r} by the "
                f"images before it: {AGAIN}"
            )


def _boxes(folder: Path, images: list[str]) -> np.ndarray:
    file = folder / "bounding_boxes.txt"
    rows = {row[0]: row[1:] for row in read_list(file, ("image id", "x", "y", "width", "height"))}
    for image in images:
        if image not in rows:
            raise UserError(f"{str(file)!r} has no box for the image {image}: {AGAIN}")
    try:
        boxes = np.array([rows[image] for image in images], dtype=np.float64).reshape(-1, 4)
    except ValueError as error:
        raise UserError(f"{str(file)!r} holds something that is not a number ({error}): {AGAIN}") from error
    boxes[:, 2:] += boxes[:, :2]
    return boxes
