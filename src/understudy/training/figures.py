"""Which figures an evaluation will give, known before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from understudy.data import Manifest
from understudy.errors import UserError


def measurable(
    manifest: Manifest,
    rows: np.ndarray,
    split: str,
    *,
    with_teacher: bool,
    ks: Sequence[int] = (1, 2, 4, 8),
    overlap_ks: Sequence[int] = (10,),
) -> tuple[str, ...]:
    """The figures that an evaluation of these rows will give, by the rules of `metric_learning`.

    Args:
        manifest: Where the labels are.
        rows: The rows of the split.
        split: Its name, for the error.
        with_teacher: Whether there is a teacher to compare with.
        ks: Cut-offs of Recall@K.
        overlap_ks: Cut-offs of the neighbour overlap.

    Raises:
        UserError: There will be none.
    """
    if not len(rows):
        raise UserError(
            f"the split {split!r}, on which the run is to be measured, has no images: set data.val_fraction, "
            "or choose another evaluation.split"
        )
    codes = manifest.label_codes()[rows]
    labelled = codes[codes >= 0]
    count = len(labelled) or len(rows)
    again = bool((np.unique(labelled, return_counts=True)[1] > 1).any())
    if not again and not with_teacher:
        raise UserError(
            f"no class has two images in the split {split!r}, on which the run is to be measured: add images "
            "or a teacher to compare with, or choose another evaluation.split or data.val_fraction"
        )
    if count < 2:
        raise UserError(
            f"the split {split!r}, on which the run is to be measured, has only {count} image that can be "
            "ranked: add images, or choose another evaluation.split or data.val_fraction"
        )
    names = [f"recall@{k}" for k in sorted({min(k, count - 1) for k in ks})] if again else []
    names += ["map@r", "r_precision"] if again else []
    overlaps = sorted({min(k, count - 1) for k in overlap_ks}) if with_teacher else []
    return (*names, *(f"neighbour_overlap@{k}" for k in overlaps))
