"""What vectors and ids must be before a table is made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from understudy.errors import UserError

_NAMED = 3
_CHUNK = 65536


def few(faults: Sequence[object]) -> str:
    """The first faults, and dots where there are more.

    Example:
        >>> few([4, 7]), few([1, 2, 3, 4])
        ('4, 7', '1, 2, 3, …')
    """
    return ", ".join(map(str, faults[:_NAMED])) + (", …" if len(faults) > _NAMED else "")


def check_ids(ids: Sequence[str], hashes: Sequence[str] | None, count: int) -> None:
    """Refuses ids that are not one for each item, that repeat, or that cannot be written.

    Raises:
        UserError: Naming the numbers, the first id that repeats and its rows, or one that is not UTF-8.
    """
    if len(ids) != count or (hashes is not None and len(hashes) != count):
        held = f"{len(ids)} ids" + ("" if hashes is None else f" and {len(hashes)} hashes")
        raise UserError(f"an embedding table needs one id for each of its {count} vectors, got {held}")
    if len(set(ids)) != count:
        first: dict[str, int] = {}
        row, other = next((row, first[i]) for row, i in enumerate(ids) if first.setdefault(i, row) != row)
        raise UserError(f"the id {ids[row]!r} stands in row {other} and in row {row}: ids must be unique")
    for row, name in enumerate(ids):
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the id {name!r} in row {row} is not UTF-8 text: rename it") from error


def check_rows(
    vectors: np.ndarray, dtype: str, named: Callable[[int], object] = str, *, what: str = "vectors"
) -> None:
    """Refuses rows that, stored as ``dtype``, hold NaN or infinity or nothing but zeros.

    Args:
        vectors: (n, d) floating point.
        dtype: As a plan names it.
        named: What to call a row.
        what: What to call all of them; logits may be zeros.

    Raises:
        UserError: Saying how many and naming the first rows.
    """
    kind = np.dtype("float32" if dtype == "int8" else dtype)
    bad: list[int] = []
    zero: list[int] = []
    for start, part in _chunks(vectors):
        with np.errstate(over="ignore", invalid="ignore"):
            stored = part.astype(kind, copy=False)
        bad.extend((start + np.flatnonzero(~np.isfinite(stored).all(axis=1))).tolist())
        if what == "vectors":
            zero.extend((start + np.flatnonzero(~stored.any(axis=1))).tolist())
    for rows, fault in ((bad, "hold NaN or infinity"), (zero, "are all zeros")):
        if rows:
            raise UserError(
                f"{len(rows)} of {len(vectors)} {what} {fault} as {dtype} "
                f"(rows {few([named(row) for row in rows[: _NAMED + 1]])}): "
                "mend them or leave those items out"
            )


def all_unit_length(vectors: np.ndarray) -> bool:
    """Whether every row has length 1, as far as half precision can tell.

    Example:
        >>> all_unit_length(np.array([[0.6, 0.8], [0.0, -1.0]])), all_unit_length(np.array([[1.0, 1.0]]))
        (True, False)
    """
    return all(
        np.allclose(np.linalg.norm(part.astype(np.float32), axis=1), 1, rtol=0, atol=2e-3)
        for _, part in _chunks(vectors)
    )


def _chunks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(vectors), _CHUNK):
        yield start, vectors[start : start + _CHUNK]
