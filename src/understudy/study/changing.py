"""A study with other settings than its file says: other data, another teacher, fewer epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from understudy.config import merge
from understudy.errors import UserError, suggest
from understudy.study.config import StudyConfig


def changed(
    study: StudyConfig,
    settings: Mapping[str, Any],
    *,
    data: str | None = None,
    teachers: Iterable[str] = (),
    clean: Iterable[str] = (),
    seeds: int | None = None,
) -> StudyConfig:
    """A study with settings laid over those that all its rows share; a row's own still come on top.

    Args:
        study: The study.
        settings: A tree of settings.
        data: The images.
        teachers: References, ``NAME=REFERENCE`` where the study has several teachers.
        clean: The same for where vectors of clean images come from.
        seeds: How many seeds.

    Raises:
        UserError: A reference does not say whose it is, or the study no longer fits together.

    Example:
        >>> from understudy.study import read_study
        >>> study = changed(read_study("demo"), {"steps": 5}, teachers=["table:stored"], seeds=2)
        >>> study.base["teachers"], study.base["steps"], study.seeds
        ({'main': {'reference': 'table:stored'}}, 5, 2)
    """
    base = merge(study.base, settings)
    if data is not None:
        base = merge(base, {"data": {"source": data}})
    for key, given in (("reference", teachers), ("clean", clean)):
        for text in given:
            base = {**base, "teachers": _with(_written_out(base), key, text)}
    update: dict[str, Any] = {"base": base}
    if seeds is not None:
        update["seeds"] = seeds
    return study.replaced(**update)


def _written_out(base: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The teachers of a base, none of them by a single word."""
    teachers = base.get("teachers") or {}
    if isinstance(teachers, str):
        teachers = {"main": teachers}
    return {
        name: {"reference": str(one)} if not isinstance(one, Mapping) else dict(one)
        for name, one in teachers.items()
    }


def _with(teachers: dict[str, dict[str, Any]], key: str, text: str) -> dict[str, dict[str, Any]]:
    name, equals, rest = text.partition("=")
    if not equals or name not in teachers:
        if len(teachers) > 1:
            raise UserError(
                f"{text!r} does not say for which teacher it stands: write NAME={text}; "
                f"{suggest(name, teachers)}"
            )
        name, rest = next(iter(teachers), "main"), text
    return {**teachers, name: {**teachers.get(name, {}), key: rest}}
