"""Command-line options that come from the configuration: one for every plain value in it."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from understudy.config import RunConfig, formless, merge, parse
from understudy.config.recipes import read_run_settings
from understudy.errors import UserError
from understudy.training.defaults import complete

_MARK = "__"


def with_config(*, leave_out: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for every plain value of `RunConfig`.

    The command is called with ``settings``, the values that were given, as a tree.

    Args:
        leave_out: Dotted prefixes that the command does not offer.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        offered = {
            dotted.replace(".", _MARK): (dotted, field)
            for dotted, field in leaves(RunConfig)
            if not any(dotted == prefix or dotted.startswith(prefix + ".") for prefix in leave_out)
        }

        @functools.wraps(command)
        def call(**given: Any) -> None:
            tree: dict[str, Any] = {}
            for name, (dotted, field) in offered.items():
                text = given.pop(name)
                if text is not None:
                    _put(tree, dotted.split("."), _plain(text, field.annotation))
            command(**given, settings=tree)

        own = [
            parameter
            for parameter in inspect.signature(command, eval_str=True).parameters.values()
            if parameter.name != "settings"
        ]
        generated = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    str | None,
                    typer.Option(
                        f"--{dotted.replace('_', '-')}",
                        help=_help(field),
                        metavar=_metavar(field.annotation),
                        rich_help_panel=dotted.rpartition(".")[0] or "run",
                        show_default=False,
                    ),
                ],
            )
            for name, (dotted, field) in offered.items()
        ]
        keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        call.__signature__ = inspect.Signature([*keyword, *generated])  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in (*keyword, *generated)}
        return call

    return decorate


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The plain values of a configuration, by dotted name.

    Example:
        >>> "optim.lr" in dict(leaves(RunConfig))
        True
    """
    for name, field in model.model_fields.items():
        inner = _section(field.annotation)
        if inner is not None:
            yield from leaves(inner, f"{prefix}{name}.")
        elif _is_plain(field.annotation):
            yield prefix + name, field


def resolve(
    file: Path | None,
    settings: dict[str, Any],
    *,
    data: str | None,
    student: str | None,
    supervised: list[str] | None,
    teacher: str | None = None,
    losses: list[str] | None = None,
    distils: bool = False,
) -> RunConfig:
    """The configuration of a command: the file, then what was typed, then what suits the data.

    Args:
        file: A YAML configuration or the name of a packaged one, or None.
        settings: Options that came from the configuration, as a tree.
        data: ``--data``.
        student: ``--student``, a backbone.
        supervised: ``--supervised name[=weight]``, each, or ``none``.
        teacher: ``--teacher``, a reference.
        losses: ``--loss name[=weight]``, each.
        distils: Whether the command needs a teacher and a distillation loss.

    Raises:
        UserError: The settings do not fit together.
    """
    value = read_run_settings(file) if file is not None else {}
    wrong = formless(RunConfig, value)
    if wrong is not None:
        raise UserError(f"{file}: {wrong}")
    if data is not None:
        value = merge(value, {"data": {"source": data}})
    if student is not None:
        value = merge(value, {"student": {"backbone": student}})
    if teacher is not None:
        value["teachers"] = {"main": {**_settings_of_the_one_teacher(value), "reference": teacher}}
    if losses:
        value["losses"] = [_weighted(text) for text in losses]
    if supervised:
        value["supervised"] = [] if supervised == ["none"] else [_weighted(text) for text in supervised]
    value = complete(merge(value, settings), distils=distils)
    config: RunConfig = parse(RunConfig, value, where=str(file) if file is not None else "options")
    return config


def _settings_of_the_one_teacher(value: dict[str, Any]) -> dict[str, Any]:
    """What a file says of its only teacher, such as its view: another teacher in its place keeps it."""
    teachers = value.get("teachers")
    main = teachers.get("main") if isinstance(teachers, dict) and len(teachers) == 1 else None
    return dict(main) if isinstance(main, dict) else {}


def _weighted(text: str) -> dict[str, Any]:
    name, _, weight = text.partition("=")
    if not weight:
        return {"name": name}
    try:
        return {"name": name, "weight": float(weight)}
    except ValueError:
        raise UserError(f"{text!r} is not NAME or NAME=WEIGHT: write for example {name}=2.0") from None


def _put(tree: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _plain(text: str, annotation: Any) -> Any:
    if _is_list(annotation) and "," in text and not text.lstrip().startswith("["):
        text = f"[{text}]"
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _help(field: FieldInfo) -> str:
    default = field.default
    if default is None or default is PydanticUndefined or "default:" in (field.description or ""):
        return field.description or ""
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return f"{field.description} (default: {shown})"


def _members(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return [m for a in typing.get_args(annotation) for m in _members(a) if m is not type(None)]
    if origin is Annotated:
        return _members(typing.get_args(annotation)[0])
    return [annotation]


def _section(annotation: Any) -> type[BaseModel] | None:
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            return member
    return None


def _is_plain(annotation: Any) -> bool:
    return all(
        member in (int, float, str, bool)
        or typing.get_origin(member) is Literal
        or (
            typing.get_origin(member) is tuple
            and all(a is Ellipsis or _is_plain(a) for a in typing.get_args(member))
        )
        for member in _members(annotation)
    )


def _is_list(annotation: Any) -> bool:
    return any(typing.get_origin(member) is tuple for member in _members(annotation))


def _metavar(annotation: Any) -> str:
    member = _members(annotation)[0]
    if typing.get_origin(member) is Literal:
        return "|".join(map(str, typing.get_args(member)))
    if _is_list(annotation):
        return "A,B"
    return {int: "INTEGER", float: "NUMBER", bool: "true|false"}.get(member, "TEXT")
