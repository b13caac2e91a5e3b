"""How the models of an evaluation look at images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from understudy.data.degradation import Degradation
from understudy.data.degrade import Degrader
from understudy.errors import UserError, suggest
from understudy.evaluation import Describing
from understudy.models.config import in_words

StudentView = Degradation | Mapping[str, Any]


def looking(
    *, flip: bool, scales: Sequence[float], student_view: StudentView | None, seed: int
) -> Describing:
    """The looks that are asked for, checked.

    Args:
        flip: Whether to look at the mirror image too.
        scales: One look each.
        student_view: What makes images worse, as in a configuration; none: nothing.
        seed: Of its strengths, where they are ranges.

    Raises:
        UserError: A setting does not exist or does not fit.

    Example:
        >>> looking(flip=False, scales=(1.0,), student_view={"jpg": 20}, seed=0)
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: a student's view has no setting 'jpg': did you mean 'jpeg'?
    """
    view = student_view if isinstance(student_view, Degradation) else _parsed(student_view or {})
    return Describing(flip, tuple(scales), None if view.off else Degrader(view, seed))


def view_of_text(text: str) -> dict[str, Any]:
    """A student's view as it is typed: settings between commas, the ends of a range between colons.

    Raises:
        UserError: A part is not a setting and a number.

    Example:
        >>> view_of_text("scale=0.25,jpeg=10:30")
        {'scale': 0.25, 'jpeg': [10.0, 30.0]}
    """
    view: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        try:
            ends = [float(end) for end in value.split(":")]
        except ValueError:
            raise UserError(
                f"{part!r} is no setting of a student's view: write for example scale=0.25,jpeg=10:30"
            ) from None
        view[name] = ends if len(ends) > 1 else ends[0]
    return view


def _parsed(values: Mapping[str, Any]) -> Degradation:
    for key in values:
        if key not in Degradation.model_fields:
            raise UserError(
                f"a student's view has no setting {key!r}: {suggest(key, Degradation.model_fields)}"
            )
    try:
        return Degradation.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(f"a student's view: {in_words(error)}") from error
