"""Where a store and its files lie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from understudy.errors import UserError

FACTS, INDEX, UNREADABLE, LOCK = "store.json", "index.parquet", "unreadable.csv", ".lock"
SHARDS = (".u8", ".part.parquet")


def default_place(source: str | Path) -> Path:
    """Where the store of a manifest or a folder of images is looked for: beside it.

    Example:
        >>> default_place("data/birds.parquet").as_posix(), default_place("photos").as_posix()
        ('data/birds.pack', 'photos.pack')
    """
    path = Path(source)
    if path.suffix.lower() in (".csv", ".parquet") and not path.is_dir():
        return path.with_suffix(".pack")
    path = path if path.name else path.resolve()
    return path.parent / f"{path.name}.pack"


def shard_name(plan: str, number: int) -> str:
    """The pixels of a shard; the plan's name in it keeps shards of different plans apart."""
    return f"{number:05d}-{plan[:12]}.u8"


def part_name(plan: str, number: int) -> str:
    """The piece of the index that says a shard is whole; gone once the store is finished."""
    return f"{number:05d}-{plan[:12]}.part.parquet"


@contextlib.contextmanager
def only_one(place: Path) -> Iterator[None]:
    """Holds a directory against other processes that would pack into it; a killed process lets it go.

    Raises:
        UserError: Another process holds it.
    """
    import fcntl

    place.mkdir(parents=True, exist_ok=True)
    with (place / LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another process is packing into {str(place)!r}: wait for it, or pass another place"
            ) from None
        yield
