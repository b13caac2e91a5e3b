"""Which figures an evaluation will give, known before anything is trained."""

from __future__ import annotations

import numpy as np
import torch

from understudy.data import Manifest
from understudy.errors import UserError
from understudy.evaluation import metric_learning
from understudy.evaluation.settings import Settings


def measurable(manifest: Manifest, rows: np.ndarray, split: str, *, with_teacher: bool) -> tuple[str, ...]:
    """The figures that an evaluation of these rows will give: those it gives of a few, with made-up vectors.

    Args:
        manifest: Where the labels are.
        rows: The rows of the split.
        split: Its name, for the error.
        with_teacher: Whether there is a teacher to compare with.

    Raises:
        UserError: There will be none.

    Example:
        >>> manifest = Manifest.of_paths(".", ["1.png", "2.png", "3.png"], labels=["owl", "owl", "wren"])
        >>> measurable(manifest, np.arange(3), "test", with_teacher=True)
        ('recall@1', 'recall@2', 'map@r', 'r_precision', 'neighbour_overlap@2')
    """
    where = f"the split {split!r}, on which the run is to be measured,"
    if not len(rows):
        raise UserError(f"{where} has no images: set data.val_fraction, or choose another evaluation.split")
    codes = _few(manifest.label_codes()[rows], 1 + max(*Settings().ks, *Settings().overlap_ks))
    points = torch.eye(len(codes))
    try:
        report = metric_learning(points, codes, reference=points if with_teacher else None)
    except UserError as error:
        cure = "choose another evaluation.split or data.val_fraction"
        if with_teacher:
            raise UserError(
                f"{where} has too few images that can be ranked: add images, or {cure}"
            ) from error
        raise UserError(
            f"no class has two images in {where[:-1]}: add images or a teacher to compare with, or {cure}"
        ) from error
    return tuple(report.metrics)


def _few(codes: np.ndarray, count: int) -> np.ndarray:
    """So many of the labels, of which an evaluation says what it says of all: no cut-off reaches further.

    First come two of one class, if there are, then other labelled ones, then unlabelled ones.
    """
    classes, sizes = np.unique(codes[codes >= 0], return_counts=True)
    pair = np.flatnonzero(codes == classes[sizes.argmax()])[:2] if len(classes) else np.arange(0)
    others = np.setdiff1d(np.arange(len(codes)), pair)
    labelled = codes[others] >= 0
    few: np.ndarray = codes[np.concatenate((pair, others[labelled], others[~labelled]))[:count]]
    return few
