"""Whether a run that is to go on is the run that was started: its settings, and its images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from understudy.config import first_difference
from understudy.data import Manifest
from understudy.errors import UserError

MAY_CHANGE = frozenset(
    {
        "accumulate",
        "compile",
        "cuda_graph",
        "data.resident",
        "data.workers",
        "evaluation.batch_size",
        "keep_checkpoints",
        "teachers.*.budget",
        "teachers.*.rate",
        "teachers.*.retries",
    }
)
"""Settings that a run may go on with another value of: they say how it is computed, not what.

Some of them change roundings (compile, cuda_graph), and `accumulate` what batch normalisation sees, which is
said when the run begins: they are what helps where memory runs out."""


def changed_setting(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The dotted name of the first setting that makes another run of it, or None.

    Args:
        old: The settings that a run was started with, as a plain tree.
        new: Those it is to go on with.

    Example:
        >>> old = {"seed": 0, "accumulate": 1, "data": {"source": "birds", "resident": "auto"}}
        >>> changed_setting(old, {**old, "accumulate": 4, "data": {"source": "birds", "resident": "never"}})
        >>> changed_setting(old, {**old, "accumulate": 4, "seed": 1})
        'seed'
    """
    return first_difference(_fixed(old), _fixed(new))


def fingerprint(manifest: Manifest, splits: Iterable[str], held: np.ndarray) -> dict[str, Any]:
    """What a checkpoint remembers of the images: their number in each split, and a digest of the names.

    Args:
        manifest: The images.
        splits: The splits that the run uses.
        held: (n,) the rows of all images that could be read.

    Example:
        >>> from understudy.data import Manifest
        >>> manifest = Manifest.of_paths(".", ["a.png", "b.png"], labels=["owl", ""])
        >>> mark = fingerprint(manifest, ["train", "val"], np.arange(2))
        >>> mark["images"], len(mark["digest"])
        ({'train': 2, 'val': 0}, 32)
    """
    digest, counts = hashlib.blake2b(digest_size=16), {}
    for split in sorted(splits):
        rows = np.intersect1d(manifest.rows(split), held).tolist()
        names = [(row, manifest.ids[row], manifest.labels[row]) for row in rows]  # views follow from rows
        digest.update(json.dumps([split, names]).encode())
        counts[split] = len(rows)
    return {"images": counts, "digest": digest.hexdigest()}


def refuse_other_images(then: Mapping[str, Any] | None, now: Mapping[str, Any], source: str) -> None:
    """Refuses to go on with other images than those that a checkpoint was written with.

    Args:
        then: The checkpoint's `fingerprint`; None in one that has none.
        now: That of the images that are there.
        source: The data set, for the message.

    Raises:
        UserError: They differ, saying in which split and number if that tells.
    """
    if then is None or then["digest"] == now["digest"]:
        return
    numbers = [
        f"{now['images'].get(split, 0)} instead of {then['images'].get(split, 0)} in {split!r}"
        for split in sorted({*then["images"], *now["images"]})
        if now["images"].get(split) != then["images"].get(split)
    ]
    what = ", ".join(numbers) or "other names, labels or order"
    raise UserError(
        f"{source!r} holds other images than when the run was started ({what}): put them back, or start anew "
        "in another --out"
    )


def _fixed(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree without the settings that may change."""
    return {
        key: _fixed(value, "teachers.*." if prefix == "teachers." else f"{prefix}{key}.")
        if isinstance(value, Mapping)
        else value
        for key, value in tree.items()
        if prefix + key not in MAY_CHANGE
    }
