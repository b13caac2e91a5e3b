"""One file of a table: safetensors whose rows are read where they are asked for, never all of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from understudy.errors import UserError

_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_LONGEST_HEADER = 2**20
AGAIN = "write the table again (the command that wrote it does only what is missing)"


@dataclass(frozen=True)
class Shard:
    """A shard's file, mapped.

    Attributes:
        tensors: Each by its name, read-only; nothing is read before it is asked for.
        notes: What the writer noted, text by name; ``checksum`` of all tensors among it.
    """

    tensors: Mapping[str, np.ndarray]
    notes: Mapping[str, str]

    def intact(self) -> bool:
        """Whether the tensors are, byte for byte, the ones that were written; reads all of them."""
        return self.notes.get("checksum") == _checksum(self.tensors)


class _Place(NamedTuple):
    """Where a tensor lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    first: int
    last: int

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> _Place:
        first, last = map(int, entry["data_offsets"])
        return cls(_TYPES[entry["dtype"]], tuple(map(int, entry["shape"])), first, last)

    @property
    def fits(self) -> bool:
        return self.last - self.first == math.prod(self.shape) * self.dtype.itemsize


def write_shard(path: Path, tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> str:
    """Writes tensors in the safetensors format, and returns their checksum.

    By hand, for the library makes a copy in memory, or hides that the disk is full. Long numbers come first,
    so that each tensor lies where its numbers can be read directly.

    Raises:
        OSError: It cannot be written.
    """
    ordered = dict(sorted(tensors.items(), key=lambda named: -named[1].dtype.itemsize))
    checksum = _checksum(ordered)
    header: dict[str, Any] = {"__metadata__": {**notes, "checksum": checksum}}
    end = 0
    for name, tensor in ordered.items():
        code = next(code for code, dtype in _TYPES.items() if dtype == tensor.dtype)
        header[name] = {
            "dtype": code,
            "shape": tensor.shape,
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in ordered.values():
            file.write(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return checksum


def map_shard(path: Path) -> Shard:
    """Maps the tensors of a shard into memory, read-only: only rows that are asked for are read.

    The safetensors library cannot pick scattered rows, so the header (8 bytes of length, then JSON) is read
    here and the rest is mapped.

    Raises:
        UserError: The file is missing, truncated, or no such file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= _LONGEST_HEADER else b""
    except FileNotFoundError:
        raise UserError(f"{str(path)!r} is missing: {AGAIN}") from None
    try:
        header = json.loads(text)
        notes = dict(header.pop("__metadata__"))
        places = {name: _Place.of(entry) for name, entry in header.items()}
        held = max(place.last for place in places.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{str(path)!r} is not a shard of an embedding table: {AGAIN}") from error
    begin = 8 + length
    if size != begin + held or not all(place.fits for place in places.values()):
        raise UserError(f"{str(path)!r} has {size} of {begin + held} bytes (truncated?): {AGAIN}")
    # A plain array over the mapped bytes: numpy is slow at making memmaps of memmaps.
    content: np.ndarray = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    tensors = {
        name: content[begin + place.first : begin + place.last].view(place.dtype).reshape(place.shape)
        for name, place in places.items()
    }
    return Shard(tensors, notes)


def shard_path(directory: Path, number: int) -> Path:
    """Where a shard lies."""
    return directory / "shards" / f"{number:05d}.safetensors"


def exact_path(directory: Path, number: int) -> Path:
    """Where some original vectors of a shard lie until the table is finished."""
    return directory / "shards" / f"{number:05d}.exact.safetensors"


def as_bytes(texts: list[str]) -> np.ndarray:
    """Texts without line breaks, as a tensor that a shard can hold.

    Example:
        >>> as_texts(as_bytes(["a", "", "é"]))
        ['a', '', 'é']
    """
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def as_texts(content: np.ndarray) -> list[str]:
    """The texts of `as_bytes`."""
    return content.tobytes().decode().split("\n")


def _checksum(tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
