"""Validation classes, partly labelled and smaller training sets, by seed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from understudy.data.manifest import Manifest
from understudy.errors import UserError

_SPLIT, _LABELS, _IMAGES = 1, 2, 3  # each use has a stream of its own, so that no choice depends on another


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


def image_fraction(manifest: Manifest, fraction: float, seed: int, *, most: int | None = None) -> Manifest:
    """Keeps a fraction of the training images, chosen without a look at their labels.

    With one seed, the images of a smaller fraction are among those of a larger one.

    Args:
        manifest: Its ``train`` rows that are not chosen belong to no split afterwards; all others stay.
        fraction: Above 0, to 1; at least two images stay, if there are two.
        seed: Chooses the images.
        most: Never more images than this; at least two.

    Returns:
        The manifest with other splits.

    Raises:
        UserError: The fraction is out of range, or fewer than two images are asked for.

    Example:
        >>> manifest = Manifest.of_paths(".", ["1.png", "2.png", "3.png", "4.png"])
        >>> half = image_fraction(manifest, 0.5, seed=0)
        >>> len(half.rows("train")), half.splits.count("")
        (2, 2)
    """
    if not 0 < fraction <= 1:
        raise UserError(
            f"the fraction {fraction} of the images is not between 0 and 1: 0.05 keeps a twentieth"
        )
    if most is not None and most < 2:
        raise UserError(f"{most} training image(s) cannot be compared with each other: use at least 2")
    rows = manifest.rows("train")
    count = max(2, round(fraction * len(rows)))
    count = min(count, len(rows) if most is None else most)
    left_out = _generator(seed, _IMAGES).permutation(rows)[count:]
    if not len(left_out):
        return manifest
    splits = np.asarray(manifest.splits, dtype=object)
    splits[left_out] = ""
    return replace(manifest, splits=tuple(splits.tolist()))


def _chosen(names: list[str], count: int, seed: int, use: int) -> set[str]:
    return {names[place] for place in _generator(seed, use).permutation(len(names))[:count]}


def _generator(seed: int, use: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed & ((1 << 64) - 1), use]))
