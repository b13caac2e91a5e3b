"""What is there of a table that is being written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from understudy.data.table.index import FACTS, PLAN, QUERIES, Index
from understudy.data.table.plan import TablePlan
from understudy.data.table.shards import Shard, map_shard, shard_path
from understudy.errors import UserError
from understudy.files import write_json


@dataclass
class State:
    """A table's directory with the plan and the items that it was begun with.

    Attributes:
        directory: Where it is.
        plan: What it is to hold.
        index: Its items.
        dim: The length of a vector, as soon as it is known.
    """

    directory: Path
    plan: TablePlan
    index: Index
    dim: int | None = field(default=None)

    @cached_property
    def name(self) -> str:
        """What every shard of it is marked with."""
        return self.plan.name(self.index.ids)

    @property
    def shards(self) -> int:
        """How many shards it is to have."""
        return -(-len(self.index.ids) // self.plan.items_in_shard)

    def items(self, shard: int) -> range:
        """The numbers of the items of a shard.

        Raises:
            IndexError: There is no such shard.
        """
        if not 0 <= shard < self.shards:
            raise IndexError(f"shards lie between 0 and {self.shards - 1}, got {shard}")
        size = self.plan.items_in_shard
        return range(shard * size, min((shard + 1) * size, len(self.index.ids)))

    def sound(self, number: int, *, deep: bool = False) -> Shard | None:
        """A shard that is there and whole; ``deep`` reads all of it."""
        try:
            shard = map_shard(shard_path(self.directory, number))
            if (shard.notes["plan"], shard.notes["shard"]) != (self.name, str(number)):
                return None
            lines = (len(self.items(number)) - len(left_out(shard))) * self.plan.num_views
        except (UserError, KeyError, ValueError):
            return None
        if len(shard.tensors["vectors"]) != lines or (deep and not shard.intact()):
            return None
        return shard

    def reopen(self) -> None:
        """Makes a finished table one to go on with."""
        (self.directory / QUERIES).unlink(missing_ok=True)
        facts = json.loads((self.directory / FACTS).read_text(encoding="utf-8"))
        write_json(self.directory / PLAN, facts)
        (self.directory / FACTS).unlink()

    def check_dim(self, vectors: np.ndarray, named: Callable[[int], str]) -> None:
        """Refuses vectors of another dimension than the table's; the first one decides where none is planned.

        Raises:
            UserError: Naming the first item.
        """
        if not len(vectors):
            return
        if self.dim is None:
            self.dim = self.plan.dim or self._dim_of_any() or vectors.shape[1]
        if vectors.shape[1] != self.dim:
            raise UserError(
                f"the vector of {named(0)} has {vectors.shape[1]} numbers and those of the embedding table "
                f"{str(self.directory)!r} have {self.dim}: its teacher must answer with one dimension"
            )

    def _dim_of_any(self) -> int | None:
        for number in range(self.shards):
            shard = self.sound(number)
            if shard is not None and len(shard.tensors["vectors"]):
                return int(shard.tensors["vectors"].shape[1])
        return None


def left_out(shard: Shard) -> list[int]:
    """The numbers of the items that a shard does without."""
    return [int(item) for item in json.loads(shard.notes["left_out"])]


def read_queries(directory: Path) -> int:
    """How many images × views the teacher of a table, finished or not, was asked about."""
    facts, journal = directory / FACTS, directory / QUERIES
    place = facts if facts.is_file() else directory / PLAN
    before = int(json.loads(place.read_text(encoding="utf-8")).get("queries", 0))
    if place == facts or not journal.is_file():
        return before
    return before + sum(map(int, journal.read_text(encoding="utf-8").split()))
