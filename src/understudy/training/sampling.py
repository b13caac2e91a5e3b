"""Which sampler a configuration asks for."""

from __future__ import annotations

import numpy as np

from understudy.config import SamplerConfig
from understudy.data import Manifest
from understudy.data.protocol import RELEVANCES, Protocol
from understudy.data.samplers import (
    ClassBalanced,
    CrossCameraPairs,
    EveryClassOnce,
    Mixed,
    RandomPairs,
    Sampler,
    TeacherNeighbours,
    Tuples,
    Unlabelled,
)
from understudy.errors import UserError


def build_sampler(
    config: SamplerConfig,
    manifest: Manifest,
    rows: np.ndarray,
    seed: int,
    *,
    uses_labels: bool = True,
    protocol: Protocol | None = None,
) -> Sampler:
    """The sampler over the training rows.

    Args:
        config: Which kind, how large.
        manifest: Where labels and cameras are.
        rows: (n,) manifest rows to draw from.
        seed: The seed of all its plans.
        uses_labels: Whether a loss learns from labels; without one, ``auto`` looks at no label either.
        protocol: The data's pairs, of which ``tuples`` takes those of relevance positive.

    Raises:
        UserError: The images do not allow such batches.
    """
    labels = manifest.label_codes()
    labelled = rows[labels[rows] >= 0]
    kind = config.kind
    if kind == "auto":
        every, none = len(labelled) == len(rows), not uses_labels or len(labelled) == 0
        kind = "unlabelled" if none else "class_balanced" if every else "mixed"
    size = config.batch_size
    if kind in ("unlabelled", "teacher_knn"):
        return _label_free(config, rows, size, seed, near=kind == "teacher_knn")
    if not len(labelled):
        raise UserError(f"the sampler {kind!r} needs labels and no training image has one: use 'unlabelled'")
    if kind == "random_pairs":
        return RandomPairs(labelled, labels, size, seed=seed)
    if kind == "cross_camera_pairs":
        cameras = manifest.camera_codes()
        if cameras is None:
            raise UserError("the sampler 'cross_camera_pairs' needs a `camera` column in the manifest")
        return CrossCameraPairs(labelled, labels, cameras, size, seed=seed)
    if kind == "tuples":
        return Tuples(
            labelled,
            labels,
            _positives(protocol, manifest),
            size,
            negatives=config.negatives,
            queries=config.queries,
            pool=config.pool,
            seed=seed,
        )
    if kind == "mixed":
        part = round(size * config.labelled)
        part -= part % config.images_per_class
        if not 0 < part < size:
            raise UserError(
                f"sampler.labelled {config.labelled} leaves {part} labelled of {size} images: "
                "a mixed batch needs some of both"
            )
        rest = _label_free(config, rows, size - part, seed, near=config.unlabelled == "teacher_knn")
        return Mixed(_balanced(config, labelled, labels, part, seed), rest)
    return _balanced(config, labelled, labels, size, seed)


def _positives(protocol: Protocol | None, manifest: Manifest) -> np.ndarray:
    """(p, 2) rows of the pairs that the data says belong together."""
    if protocol is not None:
        queries, positives, relevance = protocol.rows(manifest)
        wanted = relevance == RELEVANCES.index("positive")
        if wanted.any():
            return np.stack([queries[wanted], positives[wanted]], axis=1)
    raise UserError(
        "the sampler 'tuples' needs pairs of a query and its positive, and the data has none: prepare "
        "retrieval-SfM-120k, write such pairs into STEM.protocol.parquet beside the manifest STEM, or use "
        "'class_balanced'"
    )


def _label_free(
    config: SamplerConfig, rows: np.ndarray, size: int, seed: int, *, near: bool
) -> Unlabelled | TeacherNeighbours:
    size = min(size, len(rows))  # no image twice among these
    if not near:
        return Unlabelled(rows, size, seed=seed)
    return TeacherNeighbours(rows, size, config.neighbours, neighbourhood=config.neighbourhood, seed=seed)


def _balanced(
    config: SamplerConfig, rows: np.ndarray, labels: np.ndarray, size: int, seed: int
) -> ClassBalanced:
    images = config.images_per_class
    if size % images:
        raise UserError(
            f"sampler.batch_size {size} is not a multiple of sampler.images_per_class {images}: "
            "change one of them"
        )
    usable = _classes_with_two(rows, labels) if images > 1 else len(np.unique(labels[rows]))
    if not usable:
        raise UserError(
            "no class has two training images, so there is nothing to compare: label more images of each "
            "class, or learn from a teacher alone (`supervised: []`)"
        )
    classes = min(size // images, usable)
    if config.kind == "every_class_once":
        return EveryClassOnce(rows, labels, classes, images, seed=seed)
    return ClassBalanced(rows, labels, classes, images, replacement=config.replacement, seed=seed)


def _classes_with_two(rows: np.ndarray, labels: np.ndarray) -> int:
    return int((np.unique(labels[rows], return_counts=True)[1] > 1).sum())
