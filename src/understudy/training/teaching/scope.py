"""Whose run it is that asks its teachers, about which images, and where answers stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy.config import RunConfig
from understudy.data import Dataset
from understudy.teachers import Teacher
from understudy.training.keeping import key_of
from understudy.training.teaching.questions import Questions


@dataclass(frozen=True)
class Scope:
    """Whose run it is that asks.

    Attributes:
        names: The name of each teacher, by its configuration.
        dataset: The images.
        questions: The account of what is asked.
        directory: Where answers are kept that took a question each; None: in memory.
        claim: Called before something is written there.
        known: The teachers, joined to the images.
    """

    names: dict[str, str]
    dataset: Dataset
    questions: Questions
    directory: Path | None = None
    claim: Callable[[], None] = lambda: None
    known: dict[str, Teacher] = field(default_factory=dict)


def scope_of(
    config: RunConfig,
    teachers: Mapping[str, Teacher],
    dataset: Dataset,
    directory: Path | None,
    claim: Callable[[], None],
) -> Scope:
    """Whose run it is.

    Args:
        config: The run.
        teachers: Its teachers, joined to the images.
        dataset: The images.
        directory: Where answers are kept that took a question each.
        claim: Called before something is written there.
    """
    names = {key_of(teacher.model_dump(mode="json")): name for name, teacher in config.teachers.items()}
    return Scope(names, dataset, Questions(teachers), directory, claim, dict(teachers))
