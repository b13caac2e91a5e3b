"""Validation classes and partly labelled training sets, by seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from understudy.data.manifest import Manifest
from understudy.errors import UserError

_SPLIT, _LABELS = 1, 2  # each use has a stream of its own, so that the two choices are independent


def split_classes(manifest: Manifest, fraction: float, seed: int) -> Manifest:
    """Moves a fraction of the training classes, all their images, to ``val``.

    Validation classes are then never seen in training. Unlabelled images stay, unless nothing is labelled:
    then a fraction of the images is moved.

    Args:
        manifest: Its ``train`` rows are divided; all others stay as they are.
        fraction: Above 0 and below 1; at least one class goes and one stays.
        seed: Chooses the classes.

    Returns:
        The manifest with other splits.

    Raises:
        UserError: The fraction is out of range, or there is only one class (or image).

    Example:
        >>> manifest = Manifest.of_paths(".", ["1.png", "2.png", "3.png"], labels=["a", "a", "b"])
        >>> sorted(set(split_classes(manifest, 0.5, seed=0).splits))
        ['train', 'val']
    """
    if not 0 < fraction < 1:
        raise UserError(f"the validation fraction {fraction} is not between 0 and 1: 0.1 moves a tenth")
    rows = manifest.rows("train")
    names = [manifest.labels[row] for row in rows]
    labelled = any(names)
    groups = names if labelled else [str(row) for row in rows]
    known = sorted(set(groups) - {""})
    kind = "labelled class" if labelled else "image"
    if len(known) < 2:
        raise UserError(f"there is {len(known)} {kind} to train on: a validation split needs at least two")
    count = min(max(1, round(fraction * len(known))), len(known) - 1)
    moved = _chosen(known, count, seed, _SPLIT)
    splits = list(manifest.splits)
    for row, group in zip(rows.tolist(), groups, strict=True):
        if group in moved:
            splits[row] = "val"
    return replace(manifest, splits=tuple(splits))


def label_fraction(manifest: Manifest, fraction: float, seed: int) -> Manifest:
    """Keeps the labels of a fraction of the training classes and removes those of the other training images.

    With one seed, the classes of a smaller fraction are among those of a larger one.

    Args:
        manifest: Its ``train`` rows lose labels; all others stay as they are.
        fraction: From 0 (no label stays) to 1; above 0 at least one class keeps its labels.
        seed: Chooses the classes.

    Returns:
        The manifest with other labels.

    Raises:
        UserError: The fraction is out of range.

    Example:
        >>> manifest = Manifest.of_paths(".", ["1.png", "2.png", "3.png"], labels=["a", "a", "b"])
        >>> label_fraction(manifest, 0, seed=0).labels
        ('', '', '')
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"the labelled fraction {fraction} is not between 0 and 1: 0.05 keeps a twentieth")
    rows = manifest.rows("train")
    known = sorted({manifest.labels[row] for row in rows} - {""})
    count = max(1, round(fraction * len(known))) if fraction else 0
    kept = _chosen(known, count, seed, _LABELS)
    labels = list(manifest.labels)
    for row in rows.tolist():
        if labels[row] not in kept:
            labels[row] = ""
    return replace(manifest, labels=tuple(labels))


def _chosen(names: list[str], count: int, seed: int, use: int) -> set[str]:
    generator = np.random.Generator(np.random.PCG64([seed & ((1 << 64) - 1), use]))
    return {names[place] for place in generator.permutation(len(names))[:count]}
