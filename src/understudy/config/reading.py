"""From YAML to a section; a mistake becomes one sentence that names the key."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from understudy.config.sections import WORDS, Section
from understudy.errors import UserError, suggest


def parse(section: type[Section], value: Mapping[str, Any], *, where: str) -> Any:
    """Reads a section from plain values; a mistake becomes one sentence.

    Args:
        section: The model to read into.
        value: Plain values, as YAML gives them.
        where: What to call the source in an error.

    Returns:
        The section.

    Raises:
        UserError: An unknown key (with the nearest known one) or a value that does not fit.

    Example:
        >>> from understudy.config import OptimConfig
        >>> parse(OptimConfig, {"lr": 0.1}, where="optim").lr
        0.1
        >>> parse(OptimConfig, {"momentun": 0.1}, where="run.yaml")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: run.yaml: there is no key 'momentun': did you mean 'momentum'?
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(section, error)}") from None


def formless(section: type[BaseModel], value: Mapping[str, Any]) -> str | None:
    """What is wrong with the first value that stands where a section of settings belongs.

    Settings that are laid over such a value would replace it without a word, so it is looked for before.

    Args:
        section: The model that the values are to be read into.
        value: Plain values.

    Returns:
        The sentence; None where every section is a mapping, the word it may be written as, or left out.

    Example:
        >>> from understudy.config import RunConfig
        >>> formless(RunConfig, {"data": "photos", "augment": None}), formless(RunConfig, {"optim": "sgd"})
        (None, "'optim' does not fit ('sgd'): write its settings under it, such as `optim: {name: ...}`")
    """
    for key, field in section.model_fields.items():
        inner = _own_section(field.annotation)
        if key not in value or inner is None:
            continue
        given = value[key]
        word = key in WORDS and isinstance(given, str | Path)
        if not (isinstance(given, Mapping | BaseModel) or word or (given is None and field.default is None)):
            example = f"{key}: {{{next(iter(inner.model_fields))}: ...}}"
            return f"{key!r} does not fit ({_shown(given)}): write its settings under it, such as `{example}`"
    return None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file that must hold a mapping.

    Raises:
        UserError: There is no such file, or it is not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {str(path)!r}: pass the path of a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{str(path)!r} is not valid YAML{line}: mend it there") from None
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} must hold `key: value` lines, not {type(value).__name__}")
    return value


def to_yaml(section: Section) -> str:
    """The section as YAML, every value resolved."""
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _sentence(section: type[BaseModel], error: ValidationError) -> str:
    # A misspelt key is the cause of a missing one, so it is named first.
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    place = [part for part in first["loc"] if isinstance(part, int) or not _is_branch(str(part))]
    dotted = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        known = _fields_at(section, place[:-1])
        inside = f" in {'.'.join(map(str, place[:-1]))!r}" if place[:-1] else ""
        return f"there is no key {str(place[-1])!r}{inside}: {suggest(str(place[-1]), known)}"
    if first["type"] == "missing":
        return f"the key {dotted!r} is missing: add it"
    message = first["msg"].removeprefix("Value error, ")
    if not dotted:
        return message
    return f"{dotted!r} does not fit ({_shown(first['input'])}): {message[0].lower()}{message[1:]}"


def _is_branch(part: str) -> bool:
    return "[" in part or part.startswith(("function-", "tagged-"))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(section: type[BaseModel], place: list[Any]) -> list[str]:
    current: Any = section
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = _model_inside(current.model_fields[part].annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _own_section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field is, be it optional; None for lists and mappings of sections."""
    members = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((one for one in members if isinstance(one, type) and issubclass(one, BaseModel)), None)


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()) or ():
        found = _model_inside(inner)
        if found is not None:
            return found
    return None
