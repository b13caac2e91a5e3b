"""HuggingFace ``datasets`` sets of images, as ``save_to_disk`` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.data.huggingface import image_columns, is_saved, item_path, saved_sets
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError, suggest

_SPLITS = {
    "train": "train",
    "validation": "val",
    "valid": "val",
    "val": "val",
    "dev": "val",
    "test": "test",
    "query": "query",
    "gallery": "gallery",
}


def recognises(path: Path) -> bool:
    """Whether ``save_to_disk`` wrote the folder."""
    return is_saved(path)


def read(path: str | Path, *, image_column: str | None = None, label_column: str | None = None) -> Prepared:
    """Reads a saved ``Dataset`` or ``DatasetDict``; its images stay where they are.

    A row's path names the item inside the folder (``birds#train/12``), and everything that reads images reads
    it through the library. ``train``, ``validation`` and ``test`` become train, val and test; a single set
    without a split is for training.

    Args:
        path: The folder.
        image_column: The column of images; needed only where there are several.
        label_column: The column of classes: class labels, whole numbers or text, empty or -1 where unknown;
            default: ``label``, ``labels`` or the only column of class labels. "" for none.

    Returns:
        The manifest; its root is the folder's own, so that it can lie beside the folder.

    Raises:
        UserError: The library is not installed, the folder cannot be read, or it has no such column.
    """
    folder = Path(path).resolve()
    if not is_saved(folder):
        raise UserError(
            f"{str(path)!r} is no HuggingFace data set on disk (no dataset_dict.json or state.json): "
            "pass the folder that save_to_disk wrote"
        )
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    notes: list[str] = []
    for name, saved in saved_sets(folder).items():
        where = f"{str(path)!r}" + (f", {name!r}" if name else "")
        column = _image_column(where, saved, image_column)
        split = _SPLITS.get((name or str(saved.split or "train")).lower(), "")
        if not split:
            notes.append(f"the split {name or str(saved.split)!r} is none of ours: its rows belong to none")
        paths += [item_path(folder.name, name, place, column) for place in range(len(saved))]
        labels += _labels(where, saved, label_column)
        splits += [split] * len(saved)
    if not paths:
        raise UserError(f"{str(path)!r} holds no images: save a data set that has some")
    return Prepared(Manifest.of_paths(folder.parent, paths, labels=labels, splits=splits), notes=notes)


def _image_column(where: str, saved: Any, wanted: str | None) -> str:
    """What names the image column in a path: nothing where it is the only one."""
    columns = image_columns(saved)
    if not columns:
        raise UserError(
            f"{where} has no column of images (its columns are {', '.join(saved.features)}): cast one to "
            "datasets.Image and save it again"
        )
    if wanted is not None and wanted not in columns:
        raise UserError(f"{where} has no image column {wanted!r}: {suggest(wanted, columns)}")
    if wanted is None and len(columns) > 1:
        raise UserError(
            f"{where} has several image columns ({', '.join(columns)}): choose one as image_column"
        )
    return (wanted or "") if len(columns) > 1 else ""


def _labels(where: str, saved: Any, wanted: str | None) -> list[str]:
    """The class of each item as text; "" where it is unknown."""
    import datasets

    features = saved.features
    column = _label_column(features) if wanted is None else wanted
    if not column:
        return [""] * len(saved)
    if column not in features:
        raise UserError(f"{where} has no column {column!r}: {suggest(column, features)}")
    feature = features[column]
    values = saved.data.column(column).to_pylist()
    if isinstance(feature, datasets.ClassLabel):
        return ["" if value is None or value < 0 else str(feature.names[value]) for value in values]
    kind = str(getattr(feature, "dtype", ""))
    if not kind.startswith(("int", "uint", "string", "large_string")):
        raise UserError(
            f"{where}: the column {column!r} holds {kind or type(feature).__name__} and no classes: choose a "
            'label_column of class labels, whole numbers or text, or "" for none'
        )
    unknown = ("", -1, None)
    return ["" if value in unknown else str(value) for value in values]


def _label_column(features: Any) -> str:
    """The column that classes are looked for in when none was chosen; "" where there is none."""
    import datasets

    for name in ("label", "labels"):
        if name in features:
            return name
    classes = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    return str(classes[0]) if len(classes) == 1 else ""
