"""By which protocols a split is measured in a run, and on which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from understudy.data import Dataset, Manifest
from understudy.errors import UserError
from understudy.evaluation import Report
from understudy.evaluation.choosing import plan
from understudy.evaluation.plans import Plan
from understudy.evaluation.rows import Vectors

GALLERY = "gallery"
"""What `evaluation.split` calls the data's own queries and gallery, which are two splits."""

MULTI = "multi/"


class Part(NamedTuple):
    """One protocol of several that a split is measured by.

    Attributes:
        prefix: What its figures' names begin with.
        plan: The protocol and its rows.
    """

    prefix: str
    plan: Plan

    def found(self, query: Vectors, gallery: Vectors, reference: Vectors | None = None) -> Report:
        """The figures of some vectors' queries in a gallery of the same or of others.

        Args:
            query: Of all rows that queries are made of.
            gallery: Of all rows of the gallery; the same object where one model embedded both.
            reference: Of all these rows by another model, with which agreement is measured.
        """
        plan = self.plan
        asking = plan.query_vectors(query)
        one_set = plan.protocol == "metric_learning" and gallery is query
        asked = asking if one_set else gallery.of(plan.gallery)
        theirs = None
        if reference is not None:
            theirs = plan.query_vectors(reference), reference.of(plan.gallery)
        return plan.measure(asking, asked, theirs, {})


def default_split(manifest: Manifest) -> str:
    """What is measured where nobody said: test where there is one, else queries in a gallery, else val."""
    if len(manifest.rows("test")):
        return "test"
    return GALLERY if _has_gallery(manifest) else "val"


def in_words(split: str) -> str:
    """What is measured, in a sentence.

    Example:
        >>> in_words("test"), in_words("gallery")
        ('the test split', 'the queries in the gallery')
    """
    return "the queries in the gallery" if split == GALLERY else f"the {split} split"


def measured_rows(manifest: Manifest, split: str) -> np.ndarray:
    """The rows that a split's first protocol looks at, ascending.

    Example:
        >>> manifest = Manifest.of_paths(".", ["1", "2", "3"], splits=["gallery", "query", "val"])
        >>> measured_rows(manifest, "gallery").tolist(), measured_rows(manifest, "val").tolist()
        ([0, 1], [2])
    """
    if split == GALLERY:
        return np.union1d(manifest.rows("query"), manifest.rows("gallery"))
    return manifest.rows(split)


def parts_of(dataset: Dataset, split: str) -> tuple[Part, ...]:
    """How a split is measured.

    ``gallery``: the data's own queries and gallery, by the protocol that `understudy.evaluate` chooses, and
    multi-queries besides where there are images for all of them. ``val`` of images with cameras: every image
    is a query against all others, those of its identity from its own camera not seen, as such data is
    measured in the end; metric learning's figures stand beside. Anything else: metric learning.

    Args:
        dataset: The data.
        split: ``val``, ``test`` or ``gallery``.

    Returns:
        The protocols; the first gives the figures that decide.

    Raises:
        UserError: There are no queries, or no gallery.
    """
    manifest = dataset.manifest
    if split == GALLERY:
        if not _has_gallery(manifest):
            raise UserError(
                f"{dataset.name!r} has no images in the splits 'query' and 'gallery': choose another "
                "evaluation.split, or other data"
            )
        whole = plan(dataset)
        return (Part("", whole), *_of_many(dataset, whole))
    rows = manifest.rows(split)
    alone = Part("", Plan("metric_learning", dataset, split, rows, rows, rows[:0]))
    if split == "val" and crosses_cameras(manifest, rows, rows):
        return (Part("", replace(alone.plan, protocol="reid")), alone)
    return (alone,)


def splits_of(parts: Sequence[Part]) -> tuple[str, ...]:
    """The splits of the manifest whose images are needed, sorted."""
    names = parts[0].plan.manifest.splits
    return tuple(sorted({names[row] for part in parts for row in part.plan.images.tolist()}))


def report_of(parts: Sequence[Part], vectors: Vectors, reference: Vectors | None = None) -> Report:
    """The figures of all protocols; agreement and counts are those of the first.

    Args:
        parts: The protocols.
        vectors: Of all their rows.
        reference: Another model's, of the first protocol's rows.
    """
    first, *others = parts
    report = first.found(vectors, vectors, reference)
    metrics = dict(report.metrics)
    for part in others:
        found = part.found(vectors, vectors)
        metrics |= {part.prefix + name: value for name, value in found.metrics.items()}
    return replace(report, metrics=metrics, per_query={})


def crosses_cameras(manifest: Manifest, query: np.ndarray, gallery: np.ndarray) -> bool:
    """Whether all labelled images have a camera and some query's identity is seen by another one.

    Example:
        >>> owls = {"labels": ["owl", "owl", "wren"], "cameras": ["left", "right", "left"]}
        >>> manifest = Manifest.of_paths(".", ["1.png", "2.png", "3.png"], **owls)
        >>> both, one = np.array([0, 1, 2]), np.array([0, 2])
        >>> crosses_cameras(manifest, both, both), crosses_cameras(manifest, one, one)
        (True, False)
    """
    cameras, labels = manifest.camera_codes(), manifest.label_codes()
    if cameras is None:
        return False
    query, gallery = (rows[labels[rows] >= 0] for rows in (query, gallery))
    if (cameras[np.union1d(query, gallery)] < 0).any():
        return False
    seen: dict[int, set[int]] = {}
    for label, camera in zip(labels[gallery].tolist(), cameras[gallery].tolist(), strict=True):
        seen.setdefault(label, set()).add(camera)
    pairs = zip(labels[query].tolist(), cameras[query].tolist(), strict=True)
    return any(seen.get(label, set()) - {camera} for label, camera in pairs)


def _of_many(dataset: Dataset, whole: Plan) -> tuple[Part, ...]:
    """The multi-query protocol, where every query has images to average."""
    manifest = dataset.manifest
    if whole.protocol != "reid" or not len(manifest.rows("multi_query")):
        return ()
    many = plan(dataset, "reid_multi")
    if not crosses_cameras(manifest, many.query, many.gallery):
        return ()
    return (Part(MULTI, many),) if many.averages_all else ()


def _has_gallery(manifest: Manifest) -> bool:
    return bool(len(manifest.rows("query")) and len(manifest.rows("gallery")))
