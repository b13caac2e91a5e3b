"""Which teachers a run's students are measured beside, and in whose gallery they search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from understudy.config import RunConfig
from understudy.errors import UserError
from understudy.models.embedder import Embedder
from understudy.teachers import TableTeacher
from understudy.training.compatible import compatible_with
from understudy.training.teaching.asking import compares
from understudy.training.workshop import Workshop


@dataclass(frozen=True)
class Judges:
    """The names of the teachers that can say something about the measured images.

    Attributes:
        reference: The teacher that agreement is measured with: the first, if it knows all of them.
        gallery: The teacher whose gallery the student's queries search, if they can: the one that it is
            compatible with, or the first where both have one dimension.
    """

    reference: str | None = None
    gallery: str | None = None


def judges_of(
    config: RunConfig,
    workshop: Workshop,
    device: torch.device,
    *,
    split: str,
    rows: np.ndarray,
    student: Embedder,
) -> Judges:
    """Which teachers are asked when a split is measured.

    Args:
        config: The run.
        workshop: Opens them.
        device: Where they work.
        split: The split.
        rows: (n,) the manifest rows that the teachers must know.
        student: The model that is measured.

    Raises:
        UserError: A teacher's ``clean`` vectors are another's or those of views, or lack some of the rows; or
            stored vectors are of what an image was before.
    """
    dataset = workshop.dataset(config.data)
    if not compares(config, dataset.manifest, split):
        return Judges()

    def knows(name: str) -> bool:
        judge = workshop.judge(config.teachers[name], config.data, device)
        if config.teachers[name].clean is not None and isinstance(judge, TableTeacher):
            if judge.table.recipe is not None:
                raise UserError(
                    f"teachers.{name}.clean {config.teachers[name].clean!r} holds augmented views: pass a "
                    "table of clean images, embedded without --views"
                )
            if not config.data.skip_unreadable:  # what nobody can read it need not have
                judge.table.rows([dataset.manifest.ids[row] for row in rows.tolist()])  # names the missing
        return workshop.judges(judge, config.data, rows)

    first = next(iter(config.teachers))
    if not knows(first):
        return Judges()
    guide = compatible_with(config)
    if guide is not None:
        return Judges(first, guide if guide == first or knows(guide) else None)
    own = workshop.judge(config.teachers[first], config.data, device).dim
    return Judges(first, first if own == student.dim else None)
