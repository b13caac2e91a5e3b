"""Things that took long to make, kept while there is room for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

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
