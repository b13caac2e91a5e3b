"""Finds a study's mistakes before the first hour is spent, and before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from understudy.errors import UserError, suggest
from understudy.study.config import ChoiceConfig, RowConfig, StudyConfig
from understudy.training.measuring import teacher_figures
from understudy.training.plan import draw_up
from understudy.training.workshop import Workshop

CHOICE: dict[str, Any] = {"evaluation": {"split": "val"}}
"""What is laid over a row's settings to choose among them: never the test split."""


def check_study(study: StudyConfig, workshop: Workshop) -> None:
    """Draws up every row, and every candidate of it, once.

    Args:
        study: The study.
        workshop: Opens data and teachers, which the runs will share.

    Raises:
        UserError: A row cannot be done, or a figure is asked for that will not be measured.
    """
    figures = {row.name: _figures(study, row, workshop) for row in study.rows}
    every = sorted({name for names in figures.values() for name in names})
    for metric in study.metrics if "metrics" in study.model_fields_set else ():
        if metric not in every:
            raise UserError(f"`metrics` has {metric!r}, which no row measures: {suggest(metric, every)}")
    for key, metrics, rows in _compared(study):
        for metric in metrics:
            name = next((name for name in rows if metric not in figures[name]), None)
            if name is not None:
                raise UserError(
                    f"`{key}` compares rows by {metric!r}, which the row {name!r} does not measure: "
                    "name other figures"
                )


def _compared(study: StudyConfig) -> Iterator[tuple[str, tuple[str, ...], list[str]]]:
    """What compares rows, by which figures, and which rows those are."""
    yield "tests", study.tested, sorted({name for pair in study.tests for name in pair})
    if study.gap is not None:
        yield "gap", study.closed, [study.gap.alone, study.gap.teacher]


def _figures(study: StudyConfig, row: RowConfig, workshop: Workshop) -> tuple[str, ...]:
    """What a row will measure."""
    seed = study.seed_list[0]
    try:
        if row.teacher is not None:
            return teacher_figures(study.run_config(row, seed), row.teacher, workshop)
        if row.choose is not None:
            for settings in row.choose.among:
                _try_out(study, row, row.choose, settings, workshop)
        return draw_up(study.run_config(row, seed, row.first), workshop).figures
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith("row ") else f"row {row.name!r}: {text}") from None


def _try_out(
    study: StudyConfig, row: RowConfig, choose: ChoiceConfig, settings: Mapping[str, Any], workshop: Workshop
) -> None:
    """Draws up a trial run of a candidate."""
    trial = study.run_config(row, choose.seeds[0], settings, choose.overrides, CHOICE)
    known = draw_up(trial, workshop).figures
    if choose.metric not in known:
        raise UserError(f"choose.metric {choose.metric!r} is not measured: {suggest(choose.metric, known)}")
