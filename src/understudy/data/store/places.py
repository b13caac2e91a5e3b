"""Where a store and its files lie."""

from __future__ import annotations

from pathlib import Path

FACTS, INDEX, UNREADABLE = "store.json", "index.parquet", "unreadable.csv"
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
