"""From YAML to a section; a mistake becomes one sentence that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from understudy.config.sections import Section
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


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()) or ():
        found = _model_inside(inner)
        if found is not None:
            return found
    return None
