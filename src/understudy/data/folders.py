"""Folders of images as data sets."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from understudy.data.images import list_images
from understudy.data.manifest import Manifest
from understudy.errors import UserError

_SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "query": "query",
    "gallery": "gallery",
}


def manifest_from_folder(folder: str | Path) -> Manifest:
    """Makes a manifest of a folder of images.

    ``train/owl/1.jpg`` (also ``val``, ``valid``, ``validation``, ``test``, ``query``, ``gallery``) gives
    split and class, ``owl/1.jpg`` the class, ``1.jpg`` neither; what has no split is for training. A class in
    deeper folders is named by all of them (``birds/owl``). Hidden files and files that are not images by
    their ending are left out.

    Args:
        folder: The folder.

    Returns:
        A manifest whose root is the folder.

    Raises:
        UserError: The folder does not exist or holds no image, or images stand both inside and beside folders
            named after splits.
    """
    folder = Path(folder)
    found = [PurePosixPath(path.relative_to(folder).as_posix()) for path in list_images(folder)]
    if not found:
        raise UserError(f"{str(folder)!r} holds no images: put some into it or pass another folder")
    split_of = [
        _SPLIT_FOLDERS.get(path.parts[0].lower(), "") if len(path.parts) > 1 else "" for path in found
    ]
    if any(split_of) and not all(split_of):
        inside, beside = found[[bool(split) for split in split_of].index(True)], found[split_of.index("")]
        raise UserError(
            f"{str(folder)!r} holds images in a folder named after a split ({str(inside)!r}) and beside it "
            f"({str(beside)!r}): move the latter into train, val or test, or pass one of the folders"
        )
    depth = 1 if all(split_of) else 0
    return Manifest.of_paths(
        folder,
        [str(path) for path in found],
        labels=["/".join(path.parts[depth:-1]) for path in found],
        splits=[split or "train" for split in split_of],
    )
