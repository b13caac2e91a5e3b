"""Images inside HuggingFace ``datasets`` sets that were saved to disk, each by a path of its own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.errors import UserError, suggest

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "#"


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote this folder, of one set or of a dictionary of them."""
    one = (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    return one or (folder / "dataset_dict.json").is_file()


def saved_sets(folder: Path) -> dict[str, Any]:
    """The sets in a folder by the name of their split; a single set by "".

    Raises:
        UserError: The library is not installed, or the folder cannot be read.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"{str(folder)!r} is a HuggingFace data set and the library that reads it is not installed: "
            "pip install understudy[datasets]"
        ) from None
    try:
        saved = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{str(folder)!r} is not a whole HuggingFace data set ({reason}): save it to disk again"
        ) from error
    return dict(saved) if isinstance(saved, datasets.DatasetDict) else {"": saved}


def image_columns(saved: Any) -> list[str]:
    """The columns of a set that hold images."""
    import datasets

    return [name for name, feature in saved.features.items() if isinstance(feature, datasets.Image)]


def item_path(folder: str, split: str, place: int, column: str = "") -> str:
    """How a manifest names an item.

    Example:
        >>> item_path("birds", "train", 12), item_path("birds", "", 3, "left eye")
        ('birds#train/12', 'birds#3/left eye')
    """
    return folder + MARK + "/".join([*([split] if split else []), str(place), *([column] if column else [])])


def item(path: Path) -> bytes | Path | None:
    """The content of an image by the path that a manifest names it with.

    Args:
        path: ``SET#SPLIT/NUMBER``, ``SET#NUMBER`` of a single set, with ``/COLUMN`` behind it where there are
            several image columns.

    Returns:
        The encoded image as the set holds it, or the file that it points to. None where the path names no
        item of a saved set.

    Raises:
        UserError: The library is not installed, or the set cannot be read.
        LookupError: There is no such item, or nothing in it; says what.
    """
    folder, _, name = str(path).rpartition(MARK)
    if not folder or not is_saved(Path(folder)):
        return None
    several = (Path(folder) / "dataset_dict.json").is_file()
    split, rest = name.split("/", 1) if several and "/" in name else ("", name)
    place, _, column = rest.partition("/")
    images = _column(folder, split, column, _changed(Path(folder)))
    if not place.isdecimal() or int(place) >= len(images):
        raise LookupError(f"is none of {len(images):,} items")
    content = images[int(place)].as_py() or {}
    if content.get("bytes") is not None:
        encoded: bytes = content["bytes"]
        return encoded
    if content.get("path") is None:
        raise LookupError("holds no image")
    return Path(content["path"])


def saved_at(path: Path) -> int:
    """When the set that a path names an item of was saved, in ns; -1 where it names none."""
    folder, _, _ = str(path).rpartition(MARK)
    return _changed(Path(folder)) if folder else -1


@functools.lru_cache(maxsize=64)
def _column(folder: str, split: str, column: str, changed: int) -> pa.ChunkedArray[Any]:
    """A column of encoded images, mapped into memory: never changed, so threads can read it at once."""
    del changed  # part of the key: a set that was saved again is opened again
    sets = saved_sets(Path(folder))
    if split not in sets:
        raise LookupError(f"is of an unknown split ({suggest(split, filter(None, sets))})")
    columns = image_columns(sets[split])
    if column or len(columns) == 1:
        name = column or columns[0]
        if name in columns:
            images: pa.ChunkedArray[Any] = sets[split].data.column(name)
            return images
    raise LookupError(f"names no image column (there are {', '.join(columns) or 'none'})")


def _changed(folder: Path) -> int:
    """When the set was saved, in ns; -1 where there is none."""
    both = (folder / "dataset_dict.json", folder / "state.json")
    return max((file.stat().st_mtime_ns for file in both if file.is_file()), default=-1)
