"""What is there, held against what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from understudy.errors import UserError

_NAMED = 3


class IncompleteError(UserError):
    """A data set that is not whole.

    Attributes:
        what: The first half of the sentence: what is missing.
    """

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}: {cure}")
        self.what = what


def check(
    folder: str | Path,
    parts: Mapping[str, tuple[int, int]],
    *,
    absent: Sequence[str] = (),
    detail: str = "",
    partial: bool = False,
) -> list[str]:
    """Compares counts with the published ones.

    Args:
        folder: What was read, for the message.
        parts: What is counted ("training images") → (found, published).
        absent: Files that are listed and not there; they must not be among those found.
        detail: What more is known of the difference; said only where there is one.
        partial: Go on with what is there.

    Returns:
        Nothing where all is there; with ``partial`` a sentence that says what is not.

    Raises:
        IncompleteError: Some counts differ; every one of them is named.

    Example:
        >>> check("cub", {"training images": (5863, 5864), "classes": (200, 200)}, partial=True)
        ["'cub' is not the whole data set: 5,863 of 5,864 training images (1 missing)"]
    """
    wrong = [
        f"{found:,} of {published:,} {part} ({_difference(published - found)})"
        for part, (found, published) in parts.items()
        if found != published
    ]
    if absent:
        named = ", ".join(map(repr, absent[:_NAMED])) + (", …" if len(absent) > _NAMED else "")
        wrong.append(f"{len(absent):,} listed and not there: {named}")
    if not wrong:
        return []
    sentence = (
        f"{str(folder)!r} is not the whole data set: {'; '.join([*wrong, detail] if detail else wrong)}"
    )
    if partial:
        return [sentence]
    raise IncompleteError(
        sentence, "unpack the official archive again, or pass --partial to go on with what is there"
    )


def _difference(missing: int) -> str:
    return f"{missing:,} missing" if missing > 0 else f"{-missing:,} too many"
