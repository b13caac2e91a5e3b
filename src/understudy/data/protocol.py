"""What a manifest's columns cannot say: which image is relevant to which query, and other ways to split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from understudy.data.manifest import SPLITS, Manifest
from understudy.data.parquet import read_parquet
from understudy.errors import UserError, suggest
from understudy.files import atomic_file

RELEVANCES = ("positive", "easy", "hard", "junk")

_PAIR_COLUMNS = ("query_id", "gallery_id", "relevance")
_SPLIT_COLUMNS = ("id", "split")


@dataclass(frozen=True, eq=False)
class Protocol:
    """Pairs of a query and an image of the gallery, each with its relevance; pairs not listed are negative.

    Attributes:
        query_ids: (p,) the manifest id of each pair's query, as Python strings.
        gallery_ids: (p,) that of its gallery image.
        relevance: (p,) one of `RELEVANCES`: positive, easy or hard, or junk, which counts neither for nor
            against.

    Example:
        >>> protocol = Protocol.of([("q1", "a", "easy"), ("q1", "b", "junk")])
        >>> manifest = Manifest.of_paths(".", ["a", "b", "q1"])
        >>> [rows.tolist() for rows in protocol.rows(manifest)]
        [[2, 2], [0, 1], [1, 3]]
    """

    query_ids: np.ndarray
    gallery_ids: np.ndarray
    relevance: np.ndarray

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str, str]]) -> Protocol:
        """A protocol of (query id, gallery id, relevance) triples."""
        columns = list(zip(*pairs, strict=True)) or [(), (), ()]
        return cls(*(np.array(column, dtype=object) for column in columns))

    def __len__(self) -> int:
        return len(self.query_ids)

    def rows(self, manifest: Manifest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pairs in numbers.

        Args:
            manifest: The table the ids are of.

        Returns:
            (p,) int64 each: the query's row, the gallery image's row, the place of the relevance in
            `RELEVANCES`.

        Raises:
            UserError: An id is not in the manifest, a relevance is unknown, or a pair comes twice.
        """
        row = {name: place for place, name in enumerate(manifest.ids)}
        code = {name: place for place, name in enumerate(RELEVANCES)}
        strange = "is not in the manifest: prepare the data set again"
        queries = _numbers(self.query_ids, row, "query id", strange)
        gallery = _numbers(self.gallery_ids, row, "gallery id", strange)
        grades = _numbers(
            self.relevance, code, "relevance", f"is none of {', '.join(RELEVANCES)}: correct it"
        )
        _, first = np.unique(queries * len(row) + gallery, return_index=True)
        if len(first) < len(queries):
            place = np.setdiff1d(np.arange(len(queries)), first)[0]
            raise UserError(
                f"the pair of {self.query_ids[place]!r} and {self.gallery_ids[place]!r} is listed twice: "
                "keep it once"
            )
        return queries, gallery, grades


def protocol_path(manifest_path: str | Path) -> Path:
    """Where the protocol of a manifest lies.

    Example:
        >>> protocol_path("data/oxford.parquet").as_posix()
        'data/oxford.protocol.parquet'
    """
    path = Path(manifest_path)
    return path.with_name(f"{path.stem}.protocol.parquet")


def split_path(manifest_path: str | Path, name: str) -> Path:
    """Where an alternative split of a manifest lies.

    Example:
        >>> split_path("data/cuhk03.parquet", "detected-01").as_posix()
        'data/cuhk03.splits/detected-01.parquet'
    """
    path = Path(manifest_path)
    return path.with_name(f"{path.stem}.splits") / f"{name}.parquet"


def write_protocol(protocol: Protocol, manifest_path: str | Path) -> None:
    """Writes the sidecar ``STEM.protocol.parquet`` beside a manifest, whole or not at all."""
    columns = (protocol.query_ids, protocol.gallery_ids, protocol.relevance)
    _write(protocol_path(manifest_path), dict(zip(_PAIR_COLUMNS, columns, strict=True)))


def read_protocol(manifest_path: str | Path, manifest: Manifest | None = None) -> Protocol | None:
    """Reads the protocol beside a manifest.

    Args:
        manifest_path: The manifest's file.
        manifest: Its content, where it has been read already.

    Returns:
        The protocol; None where the manifest has none.

    Raises:
        UserError: The sidecar cannot be read or does not fit the manifest.
    """
    from understudy.data.manifest import read_manifest

    path = protocol_path(manifest_path)
    if not path.exists():
        return None
    protocol = Protocol(*(np.array(column, dtype=object) for column in _read(path, _PAIR_COLUMNS)))
    try:
        protocol.rows(manifest if manifest is not None else read_manifest(manifest_path))
    except UserError as error:
        raise UserError(f"{str(path)!r}: {error}") from error
    return protocol


def write_split(splits: Mapping[str, str], manifest_path: str | Path, name: str) -> None:
    """Writes an alternative split, id → split, into ``STEM.splits/NAME.parquet``."""
    _write(split_path(manifest_path, name), dict(zip(_SPLIT_COLUMNS, (splits, splits.values()), strict=True)))


def with_split(manifest: Manifest, manifest_path: str | Path, name: str) -> Manifest:
    """The same items, divided another way.

    Args:
        manifest: The table.
        manifest_path: Its file; the splits lie in ``STEM.splits`` beside it.
        name: Which one.

    Returns:
        The manifest with the splits of that name; rows it does not list belong to none.

    Raises:
        UserError: There is no split of that name (the nearest one is named), or it does not fit the manifest.
    """
    path = split_path(manifest_path, name)
    if not path.is_file():
        there = [file.stem for file in path.parent.glob("*.parquet")]
        cure = suggest(name, there) if there else "it has none, leave the name out"
        raise UserError(f"{str(manifest_path)!r} has no split named {name!r}: {cure}")
    ids, splits = _read(path, _SPLIT_COLUMNS)
    return divided(manifest, dict(zip(ids, splits, strict=True)), where=repr(str(path)))


def divided(manifest: Manifest, splits: Mapping[str, str], *, where: str) -> Manifest:
    """The manifest with other splits, from id → split; ``where`` names their source in errors.

    Example:
        >>> divided(Manifest.of_paths(".", ["a", "b"]), {"b": "query"}, where="here").splits
        ('', 'query')
    """
    strange = splits.keys() - set(manifest.ids)
    if strange:
        raise UserError(
            f"{where}: the id {min(strange)!r} is not in the manifest: prepare the data set again"
        )
    for split in set(splits.values()) - {""}:
        if split not in SPLITS:
            raise UserError(f"{where}: {split!r} is not a split: {suggest(split, SPLITS)}")
    return replace(manifest, splits=tuple(splits.get(name, "") for name in manifest.ids))


def _numbers(names: np.ndarray, known: Mapping[str, int], what: str, problem: str) -> np.ndarray:
    try:
        return np.array([known[name] for name in names], dtype=np.int64)
    except KeyError as error:
        raise UserError(f"the {what} {error.args[0]!r} {problem}") from error


def _write(path: Path, columns: Mapping[str, Iterable[str]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(list(column), pa.string()) for name, column in columns.items()})
    with atomic_file(path) as draft:
        pq.write_table(table, draft)


def _read(path: Path, names: tuple[str, ...]) -> list[list[str]]:
    table = read_parquet(path, names, cure="prepare the data set again")
    return [
        ["" if value is None else str(value) for value in table.column(name).to_pylist()] for name in names
    ]
