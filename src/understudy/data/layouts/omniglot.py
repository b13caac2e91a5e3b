"""Omniglot in its official folder layout (Lake, Salakhutdinov and Tenenbaum, Science 2015)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from understudy.data.images import list_images
from understudy.data.layouts._counts import check
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.errors import UserError

_PARTS = {"images_background": "train", "images_evaluation": "test"}
_DRAWERS = 20
_NAMED = 3

PUBLISHED = {
    "characters in images_background": 964,
    "drawings in images_background": 19_280,
    "characters in images_evaluation": 659,
    "drawings in images_evaluation": 13_180,
}


def recognises(path: Path) -> bool:
    """Whether a folder has at least one of the two folders of Omniglot."""
    return any((path / part).is_dir() for part in _PARTS)


def read(path: str | Path, *, partial: bool = False, expected: Mapping[str, int] = PUBLISHED) -> Prepared:
    """Reads the complete Omniglot: background for training, evaluation for testing.

    The class is alphabet and character, the camera the person who drew (the number behind the underscore of
    the file's name).

    Args:
        path: Holds ``images_background/Alphabet/character01/0001_01.png`` and so on, and
            ``images_evaluation``.
        partial: Go on with what is there.
        expected: The published counts.

    Returns:
        964 × 20 training and 659 × 20 test drawings.

    Raises:
        UserError: A part is missing or incomplete; the sentence says which, and which characters are short.
    """
    folder = Path(path)
    paths: list[str] = []
    splits: list[str] = []
    counts: dict[str, tuple[int, int]] = {}
    short: list[str] = []
    for part, split in _PARTS.items():
        if not (folder / part).is_dir():
            raise UserError(
                f"{str(folder)!r} has no folder {part!r}: pass the folder that holds {' and '.join(_PARTS)}"
            )
        found = [image.relative_to(folder).as_posix() for image in list_images(folder / part)]
        drawn = Counter(map(_character, found))
        short += [f"{name} has {drawn[name]}" for name in sorted(drawn) if drawn[name] != _DRAWERS]
        for kind, count in (("characters", len(drawn)), ("drawings", len(found))):
            counts[f"{kind} in {part}"] = count, expected[f"{kind} in {part}"]
        paths += found
        splits += [split] * len(found)
    named = "; ".join(short[:_NAMED]) + ("; …" if len(short) > _NAMED else "")
    notes = check(folder, counts, detail=named, partial=partial)
    manifest = Manifest.of_paths(
        folder,
        paths,
        labels=[_character(image) for image in paths],
        splits=splits,
        cameras=[_drawer(folder, image) for image in paths],
    )
    return Prepared(manifest, notes=notes)


def _character(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[1:-1])


def _drawer(folder: Path, path: str) -> str:
    number = PurePosixPath(path).stem.rpartition("_")[2]
    if not number.isdigit():
        raise UserError(
            f"{str(folder / path)!r} does not end in _NN, the number of who drew it: restore its name"
        )
    return number
