"""What a user can get wrong, said in one sentence that names the thing and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake the user can mend: one sentence saying what is wrong, where, and what to do.

    The command line prints it without a traceback and exits with status 2; from Python it is an ordinary
    exception.

    Example:
        >>> raise UserError("'photos' is an empty folder: put images into it or pass another folder")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: 'photos' is an empty folder: put images into it or pass another folder
    """


def suggest(name: str, known: Iterable[str]) -> str:
    """Says which known name is nearest to a misspelt one, or lists them all when none is near.

    Args:
        name: What the user wrote.
        known: The names that exist.

    Returns:
        The end of a sentence, ready to follow ``"...: "``.

    Example:
        >>> suggest("hard_darkrnk", ["hard_darkrank", "pkt"])
        "did you mean 'hard_darkrank'?"
        >>> suggest("zzz", ["b", "a"])
        'known are a, b'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    return "known are " + ", ".join(names)


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist.

    Example:
        >>> str(unknown("loss", "pkd", ["pkt", "rkd_angle"]))
        "there is no loss named 'pkd': did you mean 'pkt'?"
    """
    return UserError(f"there is no {kind} named {name!r}: {suggest(name, known)}")
