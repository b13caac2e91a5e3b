"""Things that took long to make, kept while there is room for them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

T = TypeVar("T")


class Shelf(Generic[T]):
    """Keeps as much as fits and gives up first what has not been asked for longest.

    The newest thing is always kept, even alone and too large: somebody is about to use it.

    Args:
        room: Bytes of all things together.

    Example:
        >>> shelf = Shelf[str](room=10)
        >>> [shelf.get(key, 4, lambda: f"{key} made") for key in ("a", "b", "a", "c")]
        ['a made', 'b made', 'a made', 'c made']
        >>> "a" in shelf, "b" in shelf
        (True, False)
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._things: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def __contains__(self, key: str) -> bool:
        return key in self._things

    def get(self, key: str, size: int, make: Callable[[], T]) -> T:
        """The thing of a name, made if it is not there; what it takes the place of goes before.

        Args:
            key: Its name.
            size: Its bytes.
            make: Makes it.
        """
        if key not in self._things:
            while self._things and sum(held for _, held in self._things.values()) + size > self.room:
                self._things.popitem(last=False)
            self._things[key] = make(), size
        self._things.move_to_end(key)
        return self._things[key][0]


def key_of(*parts: object) -> str:
    """The name of a thing that is kept, of all that decides what it is, as plain values.

    Example:
        >>> key_of("answers", {"b": 1, "a": 2})
        '["answers", {"a": 2, "b": 1}]'
    """
    return json.dumps(parts, sort_keys=True)


def digest_of(rows: np.ndarray) -> str:
    """A short name for (n,) manifest rows in their order.

    Example:
        >>> digest_of(np.array([1, 2])) == digest_of(np.array([2, 1]))
        False
    """
    return hashlib.blake2b(np.ascontiguousarray(rows, dtype=np.int64).data, digest_size=16).hexdigest()
