"""Which figures an evaluation will give, known before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from understudy.errors import UserError
from understudy.evaluation.lists import joined
from understudy.evaluation.plans import Plan
from understudy.evaluation.rows import Vectors
from understudy.evaluation.settings import Settings
from understudy.training.protocols import GALLERY, Part


def measurable(parts: Sequence[Part], split: str, *, with_teacher: bool) -> tuple[tuple[str, ...], ...]:
    """The figures that each protocol will give: those it gives of a few queries, with made-up vectors.

    Args:
        parts: The protocols.
        split: The name of what they measure, for the error.
        with_teacher: Whether there is a teacher to compare with, by the first of them.

    Returns:
        The names of each protocol's figures, prefixes included.

    Raises:
        UserError: There will be none.

    Example:
        >>> from understudy.data import Dataset, Manifest
        >>> from understudy.training.protocols import parts_of
        >>> paths, labels = ["1.png", "2.png", "3.png"], ["owl", "owl", "wren"]
        >>> birds = Dataset("birds", Manifest.of_paths(".", paths, labels=labels, splits=["test"] * 3))
        >>> measurable(parts_of(birds, "test"), "test", with_teacher=True)
        (('recall@1', 'recall@2', 'map@r', 'r_precision', 'neighbour_overlap@2'),)
    """
    where = f"the split {split!r}, on which the run is to be measured,"
    if not len(parts[0].plan.images):
        raise UserError(f"{where} has no images: set data.val_fraction, or choose another evaluation.split")
    named = []
    for place, part in enumerate(parts):
        few = part._replace(plan=_few(part.plan))
        rows = few.plan.images
        vectors = Vectors(rows, torch.ones(len(rows), 1))
        try:
            report = few.found(vectors, vectors, vectors if with_teacher and not place else None)
        except UserError as error:
            raise _nothing(where, split, with_teacher=with_teacher) from error
        named.append(tuple(part.prefix + name for name in report.metrics))
    return tuple(named)


def _nothing(where: str, split: str, *, with_teacher: bool) -> UserError:
    if split == GALLERY:
        return UserError(
            f"{where} has no query whose class is to be found in the gallery: label them, or choose another "
            "evaluation.split"
        )
    cure = "choose another evaluation.split or data.val_fraction"
    if with_teacher:
        return UserError(f"{where} has too few images that can be ranked: add images, or {cure}")
    return UserError(
        f"no class has two images in {where[:-1]}: add images or a teacher to compare with, or {cure}"
    )


def _few(plan: Plan) -> Plan:
    """The same with a few of its queries, of which it says what it says of all."""
    labels = plan.manifest.label_codes()
    if plan.protocol == "metric_learning":
        some = plan.query[_few_labels(labels[plan.query], 1 + max(*Settings().ks, *Settings().overlap_ks))]
        return replace(plan, query=some, gallery=some)
    if plan.protocol == "revisited":
        return plan
    right = _found(labels[plan.query], labels[plan.gallery])
    telling = [right]
    cameras = plan.manifest.camera_codes()
    if plan.protocol != "query_gallery" and cameras is not None:
        hidden = _found(*(_pairs(labels[rows], cameras[rows]) for rows in (plan.query, plan.gallery)))
        telling = [right - hidden, hidden]
    return replace(plan, query=plan.query[np.unique([values.argmax() for values in telling])])


def _found(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How often each code occurs among others; -1 for negative ones."""
    codes, counts = np.unique(known, return_counts=True)
    if not len(codes):
        return np.where(wanted < 0, -1, 0)
    places = np.searchsorted(codes, wanted).clip(max=len(codes) - 1)
    return np.where(wanted < 0, -1, np.where(codes[places] == wanted, counts[places], 0))


def _pairs(labels: np.ndarray, cameras: np.ndarray) -> np.ndarray:
    """One code for each identity and camera; -1 where there is no identity."""
    both = joined(*(torch.from_numpy(codes.clip(min=0)) for codes in (labels, cameras))).numpy()
    return np.where(labels < 0, -1, both)


def _few_labels(codes: np.ndarray, count: int) -> np.ndarray:
    """The places of so many labels, of which an evaluation says what it says of all.

    First come two of one class, if there are, then other labelled ones, then unlabelled ones.
    """
    classes, sizes = np.unique(codes[codes >= 0], return_counts=True)
    pair = np.flatnonzero(codes == classes[sizes.argmax()])[:2] if len(classes) else np.arange(0)
    others = np.setdiff1d(np.arange(len(codes)), pair)
    labelled = codes[others] >= 0
    few: np.ndarray = np.concatenate((pair, others[labelled], others[~labelled]))[:count]
    return few
