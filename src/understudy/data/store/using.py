"""Whether a store holds what a data set is asked for, and the pixels from there if it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL

from understudy.data.decoding import refuse_unreadable
from understudy.data.manifest import Manifest
from understudy.data.pixels import Pixels
from understudy.data.store.form import Form
from understudy.data.store.opening import Store
from understudy.data.store.places import FACTS
from understudy.data.store.shards import box_text
from understudy.data.store.sources import NO_FILE, state
from understudy.errors import UserError

_AGAIN = "pack it again, or remove the pack"


def packed_pixels(
    place: Path,
    manifest: Manifest,
    rows: np.ndarray,
    form: Form,
    *,
    skip_unreadable: bool = False,
    say: Callable[[str], None] | None = None,
) -> Pixels | None:
    """The decoded images of some rows from a store.

    Args:
        place: The store.
        manifest: The images.
        rows: (n,) manifest rows.
        form: The form they are wanted in.
        skip_unreadable: Leave out those that could not be read when they were packed, instead of stopping.
        say: Told why the store is not used, or which images are left out.

    Returns:
        The images; None where the store does not fit, which was said.

    Raises:
        UserError: The store is damaged, a source file has changed since, or images could not be read.
    """
    say = say or (lambda _: None)
    if not (place / FACTS).is_file():
        say(f"{str(place)!r} is not finished: images are decoded from their files")
        return None
    store = Store.open(place)
    if store.form != form:
        say(f"{str(place)!r} holds {store.form} and {form} is wanted: images are decoded from their files")
        return None
    places = _places(store, manifest, rows)
    absent = int((places < 0).sum())
    if absent:
        say(f"{str(place)!r} lacks {absent} of {len(rows)} images: they are decoded from their files")
        return None
    then = store.facts["versions"]["pillow"]
    if then != PIL.__version__:
        say(f"{str(place)!r} was packed by Pillow {then}: {PIL.__version__} may decode to other pixels")
    gone = _refuse_changed(store, manifest, rows, places)
    if gone:
        say(f"{gone} of {len(rows)} image files are gone: {str(place)!r} still holds their pixels")
    reasons = np.asarray(store.index["reason"].to_pylist(), dtype=object)[places]
    unreadable = {number: str(reasons[number]) for number in np.flatnonzero(reasons != "").tolist()}
    if unreadable:
        refuse_unreadable(unreadable, len(rows), skip=skip_unreadable, say=say)
        rows, places = rows[reasons == ""], places[reasons == ""]
    return store.pixels(rows, places)


def _places(store: Store, manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """(n,) the row of the index for each row of the manifest; -1 where there is none of that file."""
    names, paths, boxes = (store.index[name].to_pylist() for name in ("id", "path", "box"))
    known = {item: place for place, item in enumerate(zip(names, paths, boxes, strict=True))}
    items = ((manifest.ids[row], manifest.paths[row], box_text(manifest.box(row))) for row in rows.tolist())
    return np.fromiter((known.get(item, -1) for item in items), dtype=np.int64, count=len(rows))


def _refuse_changed(store: Store, manifest: Manifest, rows: np.ndarray, places: np.ndarray) -> int:
    """Compares sizes and times of change; says how many files are no longer there."""
    sizes, times = (store.index[name].to_numpy()[places].tolist() for name in ("size", "mtime_ns"))
    changed: list[Path] = []
    gone = 0
    for row, then in zip(rows.tolist(), zip(sizes, times, strict=True), strict=True):
        now = state(manifest.path(row))
        if now == NO_FILE != then:
            gone += 1
        elif now != then:
            changed.append(manifest.path(row))
    if changed:
        raise UserError(
            f"{len(changed)} of {len(rows)} image files have changed since they were packed into "
            f"{str(store.place)!r} ({str(changed[0])!r} is the first): {_AGAIN}"
        )
    return gone
