"""Revisited Oxford and Paris (Radenović, Iscen, Tolias, Avrithis and Chum, CVPR 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.layouts._boxes import upright
from understudy.data.layouts._counts import check
from understudy.data.layouts.prepared import Layout, Prepared
from understudy.data.manifest import Manifest
from understudy.data.protocol import Protocol
from understudy.data.unpickle import unpickle
from understudy.errors import UserError

PUBLISHED = {
    "roxford5k": {"database images": 4_993, "queries": 70},
    "rparis6k": {"database images": 6_322, "queries": 70},
}

_GRADES = ("easy", "hard", "junk")
_NO_BOX = (-1, -1, -1, -1)


@dataclass(frozen=True)
class _Truth:
    """The ground truth file: names of images, and for each query its box and graded database images."""

    database: list[str]
    queries: list[str]
    boxes: list[tuple[float, ...]]
    graded: list[dict[str, np.ndarray]]


def layout(name: str, summary: str) -> Layout:
    """The layout of ``roxford5k`` or ``rparis6k``."""

    def reader(
        path: str | Path, *, partial: bool = False, expected: Mapping[str, int] = PUBLISHED[name]
    ) -> Prepared:
        return read(name, path, partial=partial, expected=expected)

    return Layout(reader, summary, lambda path: (path / f"gnd_{name}.pkl").is_file())


def read(name: str, path: str | Path, *, partial: bool = False, expected: Mapping[str, int]) -> Prepared:
    """Reads revisited Oxford or Paris: a gallery without labels, queries with boxes, and graded pairs.

    An image's id is its name in the ground truth. A query that is a database image too (officially none is)
    has its number behind the name. Boxes are rounded as the authors' cropping does, and end at the image's
    border. Images that no grade names are negatives.

    Args:
        name: ``roxford5k`` or ``rparis6k``.
        path: Holds ``gnd_NAME.pkl`` (read by `understudy.data.unpickle`) and ``jpg/IMAGE.jpg``.
        partial: Go on with the images that are there.
        expected: The published counts.

    Returns:
        The database as ``gallery``, the queries as ``query``, and the protocol of easy, hard and junk pairs.

    Raises:
        UserError: The ground truth cannot be read or contradicts itself, or images are missing.
    """
    folder = Path(path)
    file = folder / f"gnd_{name}.pkl"
    if not file.is_file():
        raise UserError(
            f"{str(folder)!r} has no file {file.name!r}: pass the folder that holds it and the folder jpg"
        )
    truth = _truth(file)
    listed = dict.fromkeys([*truth.database, *truth.queries])
    has = {image for image in listed if (folder / "jpg" / f"{image}.jpg").is_file()}
    notes = check(
        folder,
        {
            "database images": (sum(image in has for image in truth.database), expected["database images"]),
            "queries": (sum(image in has for image in truth.queries), expected["queries"]),
        },
        absent=[f"jpg/{image}.jpg" for image in listed if image not in has],
        partial=partial,
    )
    gallery = [image for image in truth.database if image in has]
    asked = [number for number, image in enumerate(truth.queries) if image in has]
    images = [*gallery, *(truth.queries[number] for number in asked)]
    ids = _ids(gallery, truth.queries, asked)
    boxes = [_NO_BOX] * len(gallery) + [
        _box(folder / "jpg" / f"{truth.queries[number]}.jpg", truth.boxes[number]) for number in asked
    ]
    manifest = Manifest(
        root=folder,
        paths=tuple(f"jpg/{image}.jpg" for image in images),
        texts=None,
        ids=(*gallery, *ids.values()),
        labels=("",) * len(images),
        splits=("gallery",) * len(gallery) + ("query",) * len(asked),
        boxes=np.array(boxes, dtype=np.int64).reshape(-1, 4),
    )
    pairs = [
        (ids[number], truth.database[place], grade)
        for number in asked
        for grade in _GRADES
        for place in truth.graded[number][grade].tolist()
        if truth.database[place] in has
    ]
    return Prepared(manifest, Protocol.of(pairs), notes=notes)


def _ids(gallery: list[str], queries: list[str], asked: list[int]) -> dict[int, str]:
    """The id of each query, by its number: its image's name, with the number behind it where it is taken."""
    taken = set(gallery)
    ids: dict[int, str] = {}
    for number in asked:
        ids[number] = f"{queries[number]}#{number}" if queries[number] in taken else queries[number]
        taken.add(queries[number])
    return ids


def _box(image: Path, corners: tuple[float, ...]) -> tuple[int, ...]:
    """A query's box in whole pixels, inside its image."""
    (width, height), (left, upper, right, lower) = upright(image, tuple(map(round, corners)))
    box = max(0, int(left)), max(0, int(upper)), min(width, int(right)), min(height, int(lower))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UserError(
            f"{str(image)!r} has {width} × {height} pixels and its query the box "
            f"{left} {upper} {right} {lower}: images and ground truth do not belong together, get both again"
        )
    return box


def _truth(file: Path) -> _Truth:
    content = unpickle(file)
    try:
        database, queries = ([str(name) for name in content[key]] for key in ("imlist", "qimlist"))
        entries = list(content["gnd"])
        boxes = [tuple(map(float, entry["bbx"])) for entry in entries]
        graded = [{grade: _places(entry[grade]) for grade in _GRADES} for entry in entries]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{str(file)!r} does not hold imlist, qimlist and gnd with bbx, easy, hard and junk of each "
            "query: get the official file again"
        ) from error
    problem = _problem(database, queries, boxes, graded)
    if problem:
        raise UserError(f"{str(file)!r}: {problem}: get the official file again")
    return _Truth(database, queries, boxes, graded)


def _places(value: Any) -> np.ndarray:
    places = np.asarray(value).reshape(-1)
    if len(places) and places.dtype.kind not in "iu":
        raise TypeError("places are whole numbers")
    return places.astype(np.int64)


def _problem(
    database: list[str],
    queries: list[str],
    boxes: list[tuple[float, ...]],
    graded: list[dict[str, np.ndarray]],
) -> str:
    """What contradicts itself in a ground truth; nothing where all is well."""
    if len(set(database)) < len(database):
        return "imlist names an image twice"
    if len(queries) != len(graded):
        return f"it names {len(queries)} queries and grades {len(graded)}"
    for name, corners, grades in zip(queries, boxes, graded, strict=True):
        places = np.concatenate(list(grades.values()))
        if len(corners) != 4 or not np.isfinite(corners).all():
            return f"the box of the query {name!r} is not four numbers"
        if len(places) and not 0 <= places.min() <= places.max() < len(database):
            return f"the query {name!r} grades an image beyond the {len(database)} of imlist"
        if len(np.unique(places)) < len(places):
            return f"the query {name!r} grades an image twice"
    return ""
