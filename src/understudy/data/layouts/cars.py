"""Cars196 (Krause, Stark, Deng and Fei-Fei, 3DRR 2013), in both of its layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from understudy.data.layouts._boxes import fitted
from understudy.data.layouts._counts import check
from understudy.data.layouts._lists import AGAIN, find_root, images_under
from understudy.data.layouts._matlab import columns
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

PUBLISHED = {
    "training images": 8_054,
    "training classes": 98,
    "test images": 8_131,
    "test classes": 98,
}

_LAST_TRAINING_CLASS = 98
_ONE = "cars_annos.mat"
_DEVKIT = "devkit/cars_train_annos.mat"
_WITH_LABELS = "cars_test_annos_withlabels.mat"
_CORNERS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def recognises(path: Path) -> bool:
    """Whether a folder is in one of the two layouts of Cars196."""
    return (path / _ONE).exists() or (path / _DEVKIT).exists()


def read(
    path: str | Path,
    *,
    boxes: bool = False,
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Mapping[str, int] = PUBLISHED,
) -> Prepared:
    """Reads Cars196 with the split of metric learning: classes 1 to 98 to train, 99 to 196 to test.

    The archives' own training and test images, which share their classes, are for classification; both are
    taken together and divided by class.

    Args:
        path: Holds ``cars_annos.mat`` and ``car_ims/``; or ``cars_train/``, ``cars_test/``,
            ``devkit/cars_train_annos.mat`` and ``cars_test_annos_withlabels.mat`` (there or in ``devkit/``).
        boxes: Cut every car out.
        partial: Go on with what is there.
        progress: Called with (done, total).
        expected: The published counts.

    Returns:
        The manifest; labels are the class numbers, ``001`` to ``196``.

    Raises:
        UserError: A list is missing or broken, or counts differ.
    """
    folder = Path(path)
    if (folder / _ONE).is_file() and ((folder / "car_ims").is_dir() or not (folder / _DEVKIT).is_file()):
        listed, classes, corners = _annotations(folder / _ONE, "relative_im_path", "")
    else:
        folder = find_root(path, (_DEVKIT,), f"Cars196 (devkit/, or {_ONE})", inside=("stanford_cars",))
        listed, classes, corners = _both_halves(folder)
    repeated = next(
        (name for name, other in zip(sorted(listed), sorted(listed)[1:], strict=False) if name == other), None
    )
    if repeated is not None:
        raise UserError(f"{str(folder)!r}: {repeated!r} is annotated twice: {AGAIN}")
    there = {
        f"{part}/{name}"
        for part in {name.partition("/")[0] for name in listed}
        for name in images_under(folder / part)
    }
    kept = [row for row, name in enumerate(listed) if name in there]
    training = [classes[row] <= _LAST_TRAINING_CLASS for row in kept]
    counts = {}
    for kind, wanted in (("training", True), ("test", False)):
        inside = [classes[row] for row, other in zip(kept, training, strict=True) if other == wanted]
        counts[f"{kind} images"] = len(inside), expected[f"{kind} images"]
        counts[f"{kind} classes"] = len(set(inside)), expected[f"{kind} classes"]
    notes = check(folder, counts, absent=[name for name in listed if name not in there], partial=partial)
    paths = [listed[row] for row in kept]
    found_boxes = None
    if boxes:
        found_boxes, more = fitted(folder, paths, corners[kept], progress)
        notes += more
    manifest = Manifest.of_paths(
        folder,
        paths,
        labels=[f"{classes[row]:03}" for row in kept],
        splits=["train" if wanted else "test" for wanted in training],
        boxes=found_boxes,
    )
    return Prepared(manifest, notes=notes)


def _both_halves(folder: Path) -> tuple[list[str], list[int], np.ndarray]:
    """The devkit's layout: training and test images apart, labels of the latter in a file of their own."""
    beside = folder / _WITH_LABELS
    halves = (
        ("cars_train/", folder / _DEVKIT),
        ("cars_test/", beside if beside.exists() else folder / "devkit" / _WITH_LABELS),
    )
    names: list[str] = []
    classes: list[int] = []
    corners: list[np.ndarray] = []
    for prefix, file in halves:
        some, numbers, boxes = _annotations(file, "fname", prefix)
        names += some
        classes += numbers
        corners.append(boxes)
    return names, classes, np.concatenate(corners)


def _annotations(file: Path, name: str, prefix: str) -> tuple[list[str], list[int], np.ndarray]:
    """Paths, class numbers, and boxes, whose corners are pixels that belong to them, counted from 1."""
    names, classes, *corners = columns(file, "annotations", (name, "class", *_CORNERS))
    boxes = np.array(corners, dtype=np.float64).T.reshape(-1, 4)
    boxes[:, :2] -= 1
    return [prefix + str(value) for value in names], [int(value) for value in classes], boxes
