"""retrieval-SfM-120k: photographs of 3D models, with pairs that match (Radenović et al., TPAMI 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.layouts._counts import check
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.data.protocol import Protocol
from understudy.data.unpickle import unpickle
from understudy.errors import UserError

FILE = "retrieval-SfM-120k.pkl"
PUBLISHED = {"training images": 91_642, "validation images": 6_403}

_PARTS = {"train": "training images", "val": "validation images"}


def recognises(path: Path) -> bool:
    """Whether a folder holds the table of retrieval-SfM-120k."""
    return (path / FILE).is_file()


def read(path: str | Path, *, partial: bool = False, expected: Mapping[str, int] = PUBLISHED) -> Prepared:
    """Reads retrieval-SfM-120k: images, the 3D model each belongs to, and the pairs of query and positive.

    An image's id is its name; its label is the 3D model (``train-7``; each part has models of its own). An
    image that is listed twice is kept once, where it came first, and so is a pair. The sampler ``tuples``
    trains on the pairs.

    Args:
        path: Holds ``retrieval-SfM-120k.pkl`` (read by `understudy.data.unpickle`) and the images,
            ``ims/ef/cd/ab/…abcdef``: folders by the last three pairs of letters, from the last.
        partial: Go on with the images that are there.
        expected: The published counts.

    Returns:
        The images in the splits ``train`` and ``val``, and the protocol of their positive pairs.

    Raises:
        UserError: The table cannot be read or contradicts itself, or images are missing.

    Example:
        >>> _place("4f7a1c")
        'ims/1c/7a/4f/4f7a1c'
    """
    folder = Path(path)
    file = folder / FILE
    if not file.is_file():
        raise UserError(
            f"{str(folder)!r} has no file {FILE!r}: pass the folder that holds it and the folder ims"
        )
    content = unpickle(file)
    if not isinstance(content, dict) or any(part not in content for part in _PARTS):
        raise UserError(f"{str(file)!r} does not hold 'train' and 'val': get the official file again")
    row: dict[str, int] = {}
    labels: list[str] = []
    splits: list[str] = []
    pairs: dict[tuple[str, str], None] = {}
    counts: dict[str, tuple[int, int]] = {}
    absent: list[str] = []
    listed = 0
    for part, what in _PARTS.items():
        names, models, part_pairs = _part(file, part, content[part])
        listed += len(names)
        there = [(folder / _place(name)).is_file() for name in names]
        counts[what] = sum(there), expected[what]
        absent += [_place(name) for name, found in zip(names, there, strict=True) if not found]
        for name, model, found in zip(names, models, there, strict=True):
            if found and name not in row:
                row[name] = len(row)
                labels.append(f"{part}-{model}")
                splits.append(part)
        pairs |= dict.fromkeys(
            (names[query], names[positive])
            for query, positive in part_pairs
            if there[query] and there[positive]
        )
    notes = check(folder, counts, absent=absent, partial=partial)
    twice = listed - len(absent) - len(row)
    if twice:
        notes.append(f"{twice:,} images are listed twice and kept once, where they came first")
    manifest = Manifest(
        root=folder,
        paths=tuple(map(_place, row)),
        texts=None,
        ids=tuple(row),
        labels=tuple(labels),
        splits=tuple(splits),
    )
    return Prepared(manifest, Protocol.of((*pair, "positive") for pair in pairs), notes=notes)


def _place(name: str) -> str:
    """Where an image lies: its last three pairs of letters, from the last, are its folders."""
    return f"ims/{name[-2:]}/{name[-4:-2]}/{name[-6:-4]}/{name}"


def _part(file: Path, part: str, value: Any) -> tuple[list[str], list[int], list[tuple[int, int]]]:
    """Names, 3D models and pairs of places of one part of the table."""
    try:
        names = [str(name) for name in value["cids"]]
        models = [int(model) for model in value["cluster"]]
        queries, positives = (_places(value[key], len(names)) for key in ("qidxs", "pidxs"))
        if len(models) != len(names) or len(queries) != len(positives) or min(map(len, names), default=6) < 6:
            raise ValueError("its columns do not fit each other")  # noqa: TRY301
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{str(file)!r}: {part!r} does not hold cids with a cluster each, and qidxs with a pidxs each "
            "that number them: get the official file again"
        ) from error
    return names, models, list(zip(queries, positives, strict=True))


def _places(value: Sequence[int], count: int) -> list[int]:
    places = np.asarray(value).reshape(-1)
    if len(places) and (places.dtype.kind not in "iu" or not 0 <= places.min() <= places.max() < count):
        raise ValueError("a place is out of range")
    found: list[int] = places.tolist()
    return found
