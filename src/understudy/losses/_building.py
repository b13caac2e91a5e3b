"""Building a module from a name and settings that a user wrote, with one sentence for each mistake."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def unknown(kind: str, name: str, known: Iterable[str]) -> LookupError:
    """The error for a name that does not exist, with the nearest that does, whatever its case.

    Example:
        >>> unknown("loss", "PKD", ["pkt", "rkd_angle"])
        LookupError("there is no loss named 'PKD': did you mean 'pkt'?")
    """
    folded = {other.lower(): other for other in sorted(known)}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.6)
    cure = f"did you mean {folded[near[0]]!r}?" if near else "known are " + ", ".join(folded.values())
    return LookupError(f"there is no {kind} named {name!r}: {cure}")


def accepted_arguments(cls: type) -> dict[str, bool]:
    """The arguments of a class, and whether each is required.

    Through ``**kwargs`` the optional ones of its bases too, and through ``*args`` the required ones; what a
    base requires otherwise, the class itself supplies.

    Example:
        >>> class Base:
        ...     def __init__(self, margin, scale=1):
        ...         pass
        >>> class Derived(Base):
        ...     def __init__(self, width, **kwargs):
        ...         super().__init__(margin=width / 2, **kwargs)
        >>> accepted_arguments(Derived)
        {'width': True, 'scale': False}
    """
    accepted: dict[str, bool] = {}
    passed_on = True
    for base in cls.__mro__:
        if base in (object, nn.Module) or "__init__" not in vars(base):
            continue
        parameters = list(inspect.signature(vars(base)["__init__"]).parameters.values())[1:]
        for parameter in parameters:
            required = parameter.default is inspect.Parameter.empty
            if parameter.kind not in _STARRED and (passed_on or not required):
                accepted.setdefault(parameter.name, required)
        kinds = {parameter.kind for parameter in parameters}
        if not kinds.intersection(_STARRED):
            break
        passed_on = passed_on and inspect.Parameter.VAR_POSITIONAL in kinds
    return accepted


def construct(what: str, cls: type, args: Mapping[str, Any]) -> Any:
    """Calls a class with settings by keyword.

    Args:
        what: What is built, for messages: "the loss 'pkt'".
        cls: The class.
        args: Its settings.

    Raises:
        TypeError: A setting that does not exist, one that is missing, or one of a wrong type.
        ValueError: A setting out of range.

    Example:
        >>> from understudy.losses.rkd import RKDDistance
        >>> construct("the loss 'rkd_distance'", RKDDistance, {"delt": 1.0})
        Traceback (most recent call last):
        ...
        TypeError: the loss 'rkd_distance' takes no 'delt': did you mean 'delta'? (it takes delta)
    """
    accepted = accepted_arguments(cls)
    takes = f"(it takes {', '.join(accepted)})" if accepted else "(it takes no settings)"
    for key in args:
        if key not in accepted:
            near = difflib.get_close_matches(key, accepted, n=1, cutoff=0.6)
            cure = f"did you mean {near[0]!r}?" if near else "leave it out"
            raise TypeError(f"{what} takes no {key!r}: {cure} {takes}")
    missing = [key for key, required in accepted.items() if required and key not in args]
    if missing:
        raise TypeError(f"{what} needs {' and '.join(missing)} {takes}")
    try:
        return cls(**args)
    except (TypeError, AssertionError) as error:
        raise TypeError(f"{what} cannot be built from {dict(args)}: {error} {takes}") from error
