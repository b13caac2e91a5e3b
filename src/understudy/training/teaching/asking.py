"""What a run may ask its teachers when questions are counted: ``data.queries``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from understudy.config import RunConfig
from understudy.data import Manifest
from understudy.data.augmentation import Augmentation
from understudy.errors import UserError
from understudy.teachers import Teacher
from understudy.teachers.protocol import View
from understudy.training.protocols import measured_rows


def views_of(
    config: RunConfig, teachers: Mapping[str, Teacher], augmentation: Augmentation
) -> dict[str, View]:
    """What each teacher sees of an image: what the configuration says, else what suits its kind.

    Where ``data.queries`` counts the questions, a teacher is asked once about an image, so it sees clean
    images; stored vectors cost nothing and are left as they are.

    Args:
        config: The run.
        teachers: The opened teachers by name.
        augmentation: The run's views.

    Raises:
        UserError: Questions are counted and a teacher is to see more than one view of an image.
    """
    views: dict[str, View] = {}
    for name, teacher in teachers.items():
        wanted = config.teachers[name].view
        if config.data.queries is None or _is_free(config, name):
            views[name] = wanted or teacher.view
            continue
        one_view = augmentation.off or (augmentation.num_views == 1 and wanted == "same")
        if wanted in ("same", "independent") and not one_view:
            raise UserError(
                f"data.queries lets a teacher be asked once about an image, and teachers.{name}.view "
                f"{wanted!r} asks about every view: set it to clean, or augment.num_views to 1"
            )
        views[name] = wanted or "clean"
    return views


def compares(config: RunConfig, manifest: Manifest, split: str) -> bool:
    """Whether an evaluation of a split compares the student with the first teacher.

    Where ``data.queries`` counts the questions, a teacher that costs something is asked about evaluation
    images only if there are no labels to measure by.

    Args:
        config: The run.
        manifest: Its images.
        split: The split.
    """
    if not config.teachers:
        return False
    if config.data.queries is None or _judges_freely(config, next(iter(config.teachers))):
        return True
    codes = manifest.label_codes()[measured_rows(manifest, split)]
    sizes = np.unique(codes[codes >= 0], return_counts=True)[1]
    return not (sizes > 1).any()


def check_questions(config: RunConfig, manifest: Manifest, splits: Iterable[str]) -> None:
    """Refuses evaluations that only a teacher can judge and that ``data.queries`` has no room for.

    Args:
        config: The run.
        manifest: Its images.
        splits: The splits that are measured.

    Raises:
        UserError: Training and evaluation images together are more than may be asked about.
    """
    queries = config.data.queries
    if queries is None or not config.teachers or _judges_freely(config, next(iter(config.teachers))):
        return
    judged = {
        split: len(measured_rows(manifest, split)) for split in splits if compares(config, manifest, split)
    }
    used = len(manifest.rows("train"))
    if judged and used + sum(judged.values()) > queries:
        named = ", ".join(f"{count} of {split!r}" for split, count in judged.items())
        raise UserError(
            f"data.queries {queries} does not reach for {used} training images and the unlabelled {named}, "
            "which only the teacher can judge: label them, raise data.queries, or leave them out"
        )


def _is_free(config: RunConfig, name: str) -> bool:
    """Whether asking costs nothing: the answers are stored."""
    return config.teachers[name].reference.startswith("table:")


def _judges_freely(config: RunConfig, name: str) -> bool:
    """Whether asking about evaluation images costs nothing."""
    teacher = config.teachers[name]
    return (teacher.clean or teacher.reference).startswith("table:")
