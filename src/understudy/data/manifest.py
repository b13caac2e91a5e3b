"""The table of a data set's items."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from understudy.errors import UserError, suggest

SPLITS = ("train", "val", "query", "gallery", "test", "multi_query")


@dataclass(frozen=True, eq=False)
class Manifest:
    """The items of a data set, one a row, in the order of the file.

    Attributes:
        root: Relative paths are joined to it.
        paths: The image of each row; empty when the items are texts.
        texts: The text of each row; None when the items are images.
        ids: A name of each row, no two alike: the ``id`` column, else the path or text.
        labels: Class or identity of each row; "" where it is not known.
        splits: One of `SPLITS`, or "" for a row that belongs to none.
        cameras: Camera of each row, or None.
        boxes: (n, 4) int64, left, upper, right, lower in pixels; a row of -1 where the whole image counts; or
            None.

    Example:
        >>> manifest = Manifest.of_paths(".", ["a.png", "b.png"], labels=["owl", ""])
        >>> manifest.rows("train"), manifest.label_codes(), manifest.classes
        (array([0, 1]), array([ 0, -1]), ('owl',))
    """

    root: Path
    paths: tuple[str, ...]
    texts: tuple[str, ...] | None
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    cameras: tuple[str, ...] | None = None
    boxes: np.ndarray | None = None

    @classmethod
    def of_paths(
        cls,
        root: str | Path,
        paths: list[str],
        *,
        labels: list[str] | None = None,
        splits: list[str] | None = None,
        cameras: list[str] | None = None,
        boxes: np.ndarray | None = None,
    ) -> Manifest:
        """A manifest of images, no path twice; unlabelled and all for training unless told otherwise."""
        return cls(
            root=Path(root),
            paths=tuple(paths),
            texts=None,
            ids=tuple(paths),
            labels=tuple(labels) if labels is not None else ("",) * len(paths),
            splits=tuple(splits) if splits is not None else ("train",) * len(paths),
            cameras=tuple(cameras) if cameras is not None else None,
            boxes=boxes,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Manifest):
            return NotImplemented
        if (self.boxes is None) != (other.boxes is None):
            return False
        same_boxes = self.boxes is None or np.array_equal(self.boxes, np.asarray(other.boxes))
        return same_boxes and self._columns() == other._columns()

    def __hash__(self) -> int:
        return hash(self._columns())

    def rows(self, split: str) -> np.ndarray:
        """The rows of a split, in order; an empty array where it has none.

        Args:
            split: One of `SPLITS`.

        Returns:
            int64 row numbers.

        Raises:
            UserError: There is no split of that name.
        """
        if split not in SPLITS:
            raise UserError(f"{split!r} is not a split: {suggest(split, SPLITS)}")
        return np.flatnonzero(self._splits == split).astype(np.int64)

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels) - {""}))

    def label_codes(self) -> np.ndarray:
        """(n,) int64: the place of each row's label in `classes`, -1 where it has none."""
        return self._labels.copy()

    def camera_codes(self) -> np.ndarray | None:
        """(n,) int64: the same for the cameras; None where the manifest has none."""
        return None if self.cameras is None else self._cameras.copy()

    def path(self, row: int) -> Path:
        """Where the image of a row lies."""
        return self.root / self.paths[row]

    def box(self, row: int) -> tuple[int, int, int, int] | None:
        """The part of a row's image that counts; None for all of it."""
        if self.boxes is None or self.boxes[row][0] < 0:
            return None
        left, upper, right, lower = self.boxes[row].tolist()
        return left, upper, right, lower

    def save(self, path: str | Path) -> None:
        """Writes the table, whole or not at all; `read_manifest` reads it back.

        Args:
            path: Where to; ``.csv`` or ``.parquet``. Images outside its folder are written with their full
                path.

        Raises:
            UserError: Another ending, or a place that cannot be written.
        """
        from understudy.data.manifest_writing import write_manifest

        write_manifest(self, Path(path))

    @functools.cached_property
    def _splits(self) -> np.ndarray:
        return np.asarray(self.splits)

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        return _codes(self.labels, self.classes)

    @functools.cached_property
    def _cameras(self) -> np.ndarray:
        cameras = self.cameras or ()
        return _codes(cameras, tuple(sorted(set(cameras) - {""})))

    def _columns(self) -> tuple[object, ...]:
        return (self.root, self.paths, self.texts, self.ids, self.labels, self.splits, self.cameras)


def read_manifest(path: str | Path) -> Manifest:
    """Reads a manifest and checks every row.

    Columns: ``path`` (an image, relative to the manifest's folder or absolute) or ``text``; ``label`` (empty:
    unlabelled); ``split`` (one of `SPLITS`, or empty); and if wanted ``camera``, ``box`` (left upper right
    lower), ``id``. Other columns are left alone. In a Parquet file null and NaN are empty, and the number 7.0
    is the text 7, as in a column of whole numbers with gaps.

    Args:
        path: A ``.csv`` (UTF-8) or ``.parquet`` file.

    Returns:
        The manifest; its root is the file's folder.

    Raises:
        UserError: One sentence with the file, the row and the column of the first thing that is wrong.
    """
    from understudy.data.manifest_files import read_manifest_file

    return read_manifest_file(Path(path))


def _codes(names: tuple[str, ...], known: tuple[str, ...]) -> np.ndarray:
    code = {name: place for place, name in enumerate(known)}
    return np.array([code.get(name, -1) for name in names], dtype=np.int64)
