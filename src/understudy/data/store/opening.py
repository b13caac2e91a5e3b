"""Reading a store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.images import UnreadableImageError, read_image
from understudy.data.lines import Lines, as_words
from understudy.data.pixels import Pixels
from understudy.data.store.form import Form
from understudy.data.store.mapping import map_files
from understudy.data.store.places import FACTS, INDEX
from understudy.data.store.plan import FORMAT
from understudy.data.store.sources import NO_FILE, bytes_hash, content_hash
from understudy.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from understudy.data.manifest import Manifest

_COLUMNS = ("id", "path", "box", "shard", "position", "hash", "size", "mtime_ns", "reason")
_FACTS = {"plan", "form", "images", "unreadable", "shards", "index_checksum", "versions"}
_AGAIN = "pack it again"


@dataclass(frozen=True, eq=False)
class Store:
    """Decoded images that are mapped into memory as they are needed.

    Attributes:
        place: Its directory.
        form: In which form the images are.
        facts: What ``store.json`` says.
        index: One row an image, in the order of the manifest that was packed: ``id``, ``path``, ``box``,
            ``shard``, ``position``, ``hash``, ``size``, ``mtime_ns`` (of the source file) and ``reason``
            (why it could not be read; "" where it could).
    """

    place: Path
    form: Form
    facts: dict[str, Any]
    index: pa.Table

    @classmethod
    def open(cls, place: str | Path) -> Store:
        """Opens a store and checks that its files are all there and belong together.

        Raises:
            UserError: There is none, it is not finished, or a file is missing, truncated or another's.
        """
        place = Path(place)
        facts = read_facts(place)
        for shard in facts["shards"]:
            file = place / shard["file"]
            if not file.is_file():
                raise UserError(f"{str(file)!r} is missing: {_AGAIN}")
            size = file.stat().st_size
            if size != shard["bytes"]:
                raise UserError(f"{str(file)!r} has {size} of {shard['bytes']} bytes (truncated?): {_AGAIN}")
        return cls(place, Form.of(facts["form"]), facts, read_index(place, facts))

    def __len__(self) -> int:
        """How many images it holds; those that could not be read are not counted."""
        return int(self.facts["images"] - self.facts["unreadable"])

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which maps the files itself."""
        return {name: value for name, value in self.__dict__.items() if name != "words"}

    @cached_property
    def words(self) -> Tensor:
        """(all, w): the line of each image of the index, see `understudy.data.lines.as_words`; mapped."""
        files = [self.place / shard["file"] for shard in self.facts["shards"]]
        return as_words(map_files(files).view(-1, self.form.line))

    def pixels(self, rows: Tensor | np.ndarray | None = None, places: np.ndarray | None = None) -> Pixels:
        """The images, to be asked for by the rows of a manifest.

        Args:
            rows: (n,) the manifest's rows; none: those of the index that could be read.
            places: (n,) the row of the index for each; none: the same.
        """
        if rows is None:
            rows = np.flatnonzero(np.asarray(self.index["reason"].to_pylist(), dtype=object) == "")
        wanted = torch.as_tensor(rows, dtype=torch.int64)
        held = wanted if places is None else torch.from_numpy(places.astype(np.int64))
        return Pixels(Lines(self.words, self.form.shape, self.words.device), wanted, held)

    def verify(self, manifest: Manifest | None = None) -> None:
        """Reads everything again and compares it with the hashes.

        Args:
            manifest: Where the source files are; without it only the store itself is verified.

        Raises:
            UserError: The first shard, or source file, that is not what was packed.
        """
        for shard in self.facts["shards"]:
            file = self.place / shard["file"]
            if bytes_hash(np.memmap(file, np.uint8, "r")) != shard["checksum"]:
                raise UserError(f"{str(file)!r} is damaged (its checksum differs): remove it and {_AGAIN}")
        if manifest is None:
            return
        sizes = self.index["size"].to_pylist()
        packed = dict(zip(self.index["id"].to_pylist(), self.index["hash"].to_pylist(), strict=True))
        without = {name for name, size in zip(packed, sizes, strict=True) if size == NO_FILE[0]}
        for row, name in enumerate(manifest.ids):
            old, path, box = packed.get(name), manifest.path(row), manifest.box(row)
            if not old:
                continue
            try:
                alone = read_image(path, box=box, channels=self.form.channels) if name in without else None
                new = content_hash(path, box, alone)
            except (OSError, UnreadableImageError):
                raise UserError(f"{str(path)!r}, which was packed, cannot be read: put it back") from None
            if new != old:
                raise UserError(f"{str(path)!r} is not the file that was packed: {_AGAIN}")


def read_facts(place: Path) -> dict[str, Any]:
    """What ``store.json`` says.

    Raises:
        UserError: There is none, or it is not of this format.
    """
    path = place / FACTS
    if not path.is_file():
        if not place.is_dir():
            raise UserError(f"there is no pack at {str(place)!r}: check the path")
        raise UserError(f"the pack {str(place)!r} is not finished: {_AGAIN}, which goes on where it stopped")
    try:
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
        known = facts["format"]
        lacking = _FACTS - facts.keys() if known == FORMAT else ()
        if lacking:
            raise ValueError(f"it lacks {min(lacking)!r}")  # noqa: TRY301
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): remove the pack and {_AGAIN}") from error
    if known != FORMAT:
        raise UserError(
            f"{str(place)!r} is a pack of format {known}, and this version reads {FORMAT}: remove it and "
            f"{_AGAIN}"
        )
    return facts


def read_index(place: Path, facts: dict[str, Any]) -> pa.Table:
    """The index that belongs to these facts.

    Raises:
        UserError: It is missing, damaged, or belongs to another store.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = place / INDEX
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{str(path)!r} is missing: {_AGAIN}") from None
    if bytes_hash(content) != facts["index_checksum"]:
        raise UserError(f"{str(path)!r} is damaged or belongs to another pack: {_AGAIN}")
    return pq.read_table(pa.BufferReader(content), columns=list(_COLUMNS))
