"""The one file of CUHK03: images and test sets inside a MATLAB 7.3 (HDF5) file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.layouts._lists import AGAIN
from understudy.errors import UserError
from understudy.files import atomic_file

# how the file calls the boxes → how we do
BOXES = {"detected": "detected", "labeled": "labelled"}
_VIEWS = 2


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The HDF5 file.

    Raises:
        UserError: h5py is not installed, or it is not the file it should be.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            "reading CUHK03 needs h5py, which is not installed: pip install 'understudy[datasets]'"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            for name in (*BOXES, "testsets"):
                if name not in file:
                    raise UserError(f"{str(path)!r} has no variable {name!r}: {AGAIN}")
            yield file
    except OSError as error:
        raise UserError(f"{str(path)!r} is not an HDF5 file that can be read ({error}): {AGAIN}") from error


def image_names(file: Any, boxes: str) -> dict[str, Any]:
    """The images of one kind of boxes, in order: ``PAIR_PERSON_VIEW_NUMBER.png`` → reference into the file.

    Numbers count from 1, as in the lists of the 767/700 protocol: five camera pairs, in each some hundred
    persons, of each up to five images from the first view and five from the second. Where there are fewer the
    file has an empty array.
    """
    names = {}
    for pair, persons in enumerate(file[boxes][0], start=1):
        cells = file[persons][()]  # (images, persons): MATLAB's matrices come out turned
        for person, references in enumerate(cells.T, start=1):
            for place, reference in enumerate(references):
                if file[reference].ndim == 3:
                    view = 1 + place // (len(references) // _VIEWS)
                    names[f"{pair}_{person:03}_{view}_{place + 1:02}.png"] = reference
    return names


def test_sets(file: Any) -> list[list[tuple[int, int]]]:
    """The standard test sets, each a list of (camera pair, person), both counted from 1."""
    return [
        [(int(pair), int(person)) for pair, person in file[reference][()].T]
        for reference in file["testsets"][0]
    ]


def extract(
    file: Any, folder: Path, names: dict[str, Any], progress: Callable[[int], None] | None = None
) -> None:
    """Writes images as PNG files, each whole or not at all; those that are there already are passed over.

    Args:
        file: The open HDF5 file.
        folder: Where to.
        names: As `image_names` gives them.
        progress: Called with the number done.

    Raises:
        UserError: The place cannot be written, or an image is not one.
    """
    from PIL import Image

    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for done, (name, reference) in enumerate(names.items(), start=1):
        if name not in there:
            pixels = file[reference][()].T
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
                raise UserError(f"{name} in {file.filename!r} is not a colour image of 8 bits: {AGAIN}")
            with atomic_file(folder / name) as draft:
                Image.fromarray(np.ascontiguousarray(pixels)).save(draft, format="PNG")
        if progress is not None:
            progress(done)
