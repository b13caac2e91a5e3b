"""The settings behind the question mark of a teacher's reference: ``KIND:THING?key=value&key=value``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from understudy.errors import UserError, suggest


def split_reference(kind: str, text: str) -> tuple[str, dict[str, str]]:
    """The thing that is named, and its settings as they were written.

    Args:
        kind: The word before the colon, for errors.
        text: What follows it.

    Raises:
        UserError: Nothing is named, or a setting is not ``key=value``.

    Example:
        >>> split_reference("onnx", "vit.onnx?mean=0.5&std=0.5")
        ('vit.onnx', {'mean': '0.5', 'std': '0.5'})
    """
    thing, _, query = text.partition("?")
    if not thing:
        raise UserError(f"teacher '{kind}:{text}' names nothing: write something behind the colon")
    settings: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"teacher '{kind}:{text}': {part!r} is no setting, write key=value")
        settings[key] = value
    return thing, settings


def refuse_unknown(where: str, settings: Collection[str], known: Collection[str]) -> None:
    """Refuses settings that there are not.

    Raises:
        UserError: Naming the first, and what it may have been meant for.
    """
    for key in settings:
        if key not in known:
            raise UserError(f"{where} has no setting {key!r}: {suggest(key, known)}")


def parsed(
    where: str, settings: Mapping[str, str], readers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """The settings' values, each read by a function of its own.

    Args:
        where: Which teacher, for errors.
        settings: As they were written.
        readers: How each is read.

    Raises:
        UserError: One is unknown or cannot be read.

    Example:
        >>> parsed("teacher 'a'", {"size": "64x48"}, {"size": pair})
        {'size': (64, 48)}
    """
    refuse_unknown(where, settings, readers)
    values = {}
    for key, text in settings.items():
        try:
            values[key] = readers[key](text)
        except ValueError:
            raise UserError(f"{where}: {key} = {text!r} does not fit: {_FORMS[readers[key]]}") from None
    return values


def pair(text: str) -> tuple[int, int]:
    """Height and width: ``224x224``, or one number for both."""
    sides = [int(side) for side in text.lower().split("x")]
    if len(sides) not in (1, 2):
        raise ValueError(text)
    return sides[0], sides[-1]


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between them: ``0.485,0.456,0.406``."""
    return tuple(float(number) for number in text.split(","))


def truth(text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_FORMS: dict[Callable[[str], Any], str] = {
    pair: "write a height and a width, such as 224x224",
    numbers: "write numbers with commas between them, such as 0.5,0.5,0.5",
    truth: "write true or false",
}
