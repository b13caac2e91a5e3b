"""Omniglot in its official folder layout (Lake, Salakhutdinov and Tenenbaum, Science 2015)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from understudy.data.images import list_images
from understudy.data.manifest import Manifest
from understudy.errors import UserError

# folder: (split, characters); twenty people drew each character once
_PARTS = {"images_background": ("train", 964), "images_evaluation": ("test", 659)}
_DRAWERS = 20


def is_omniglot(folder: Path) -> bool:
    """Whether a folder has at least one of the two folders of Omniglot."""
    return any((folder / part).is_dir() for part in _PARTS)


def manifest_from_omniglot(folder: str | Path) -> Manifest:
    """Makes a manifest of the complete Omniglot: background for training, evaluation for testing.

    The class is alphabet and character, the camera the person who drew (the number behind the underscore of
    the file's name).

    Args:
        folder: Holds ``images_background/Alphabet/character01/0001_01.png`` and so on, and
            ``images_evaluation``.

    Returns:
        A manifest of 964 × 20 training and 659 × 20 test drawings whose root is the folder.

    Raises:
        UserError: A part is missing or incomplete; the sentence says which, and which characters are short.
    """
    folder = Path(folder)
    paths: list[str] = []
    splits: list[str] = []
    for part, (split, characters) in _PARTS.items():
        if not (folder / part).is_dir():
            raise UserError(
                f"{str(folder)!r} has no folder {part!r}: pass the folder that holds {' and '.join(_PARTS)}"
            )
        found = [path.relative_to(folder).as_posix() for path in list_images(folder / part)]
        _check_complete(folder / part, found, characters)
        paths += found
        splits += [split] * len(found)
    return Manifest.of_paths(
        folder,
        paths,
        labels=[_character(path) for path in paths],
        splits=splits,
        cameras=[_drawer(folder, path) for path in paths],
    )


def _check_complete(folder: Path, paths: list[str], characters: int) -> None:
    counts = Counter(map(_character, paths))
    if len(counts) == characters and set(counts.values()) == {_DRAWERS}:
        return
    odd = sorted(name for name, count in counts.items() if count != _DRAWERS)
    named = "; ".join(f"{name} has {counts[name]}" for name in odd[:3])
    details = f" ({named}{'; …' if len(odd) > 3 else ''})" if odd else ""
    raise UserError(
        f"{str(folder)!r} holds {len(counts)} characters and {len(paths):,} drawings{details} where Omniglot "
        f"has {characters} and {characters * _DRAWERS:,}: unpack the official archive again"
    )


def _character(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[1:-1])


def _drawer(folder: Path, path: str) -> str:
    number = PurePosixPath(path).stem.rpartition("_")[2]
    if not number.isdigit():
        raise UserError(
            f"{str(folder / path)!r} does not end in _NN, the number of who drew it: restore its name"
        )
    return number
