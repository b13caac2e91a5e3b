"""What a table is to hold, known before its teacher is asked anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from understudy.errors import UserError, unknown

FORMAT = 2
"""The number of the form that tables have; another one is refused."""

Dtype = Literal["float32", "float16", "int8"]

_WORDS = {
    "teacher": "the teacher",
    "dim": "the dimension",
    "dtype": "the type of number",
    "num_views": "the number of views",
    "recipe": "the recipe of the views",
    "view_seed": "the seed of the views",
    "classes": "the classes of the logits",
}


@dataclass(frozen=True)
class TablePlan:
    """Who answers about how many views, and how the answers are stored.

    Attributes:
        teacher: Who makes the vectors.
        dim: Their length; None: that of the first ones.
        dtype: How numbers are stored: float32; float16, half the size; int8 with one scale a vector, a
            quarter.
        num_views: Views of an item.
        recipe: What varies between views, an `Augmentation` as plain values; None: the one view is the clean
            item.
        view_seed: The seed of the views.
        metadata: What else is known of the teacher (its preprocessing, a hash of its weights): plain values.
        classes: The names of the classes that logits are about; None: no logits are stored.
        shard_rows: About how many vectors lie in one file; what an interrupted process loses.

    Raises:
        UserError: ``dtype`` is none of the three.
        ValueError: Several views without a recipe, no teacher, or a number below 1.

    Example:
        >>> plan = TablePlan("vit", num_views=4, recipe={"flip": 0.5}, shard_rows=10)
        >>> plan.items_in_shard, plan.difference(TablePlan("vit"))
        (2, 'the number of views: 4 there, 1 here')
    """

    teacher: str
    dim: int | None = None
    dtype: Dtype = "float32"
    num_views: int = 1
    recipe: Mapping[str, Any] | None = None
    view_seed: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    shard_rows: int = 8192

    def __post_init__(self) -> None:
        if self.dtype not in get_args(Dtype):
            raise unknown("type of stored number", self.dtype, get_args(Dtype))
        if not self.teacher:
            raise ValueError("a plan must name the teacher: who makes the vectors")
        if self.num_views > 1 and self.recipe is None:
            raise ValueError("several views of an item need a recipe: what varies between them")
        if min(self.num_views, self.shard_rows, self.dim or 1) < 1:
            raise ValueError("num_views, shard_rows and dim are at least 1")

    @property
    def items_in_shard(self) -> int:
        """How many items a full shard holds, all views of each."""
        return max(1, self.shard_rows // self.num_views)

    def facts(self) -> dict[str, Any]:
        """The plan as JSON holds it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> TablePlan:
        """The plan that `facts` was written from; other keys are left alone.

        Raises:
            KeyError: One is missing.
        """
        values = {each.name: facts[each.name] for each in fields(cls)}
        classes = values["classes"]
        return cls(**{**values, "classes": None if classes is None else tuple(classes)})

    def difference(self, other: TablePlan) -> str | None:
        """The first thing in which another plan differs, if there is one; how shards are cut does not count.

        A dimension counts where both name one.
        """
        mine, theirs = self.facts(), other.facts()
        for key, words in _WORDS.items():
            undecided = key == "dim" and None in (mine[key], theirs[key])
            if mine[key] != theirs[key] and not undecided:
                return f"{words}: {_short(mine[key])} there, {_short(theirs[key])} here"
        mine, theirs = mine["metadata"], theirs["metadata"]
        for key in [*mine, *(key for key in theirs if key not in mine)]:
            if mine.get(key) != theirs.get(key):
                return f"the teacher's {key!r}: {_short(mine.get(key))} there, {_short(theirs.get(key))} here"
        return None

    def name(self, ids: Sequence[str]) -> str:
        """A hash of all that decides what belongs into which shard, which every shard carries."""
        facts = {key: value for key, value in self.facts().items() if key != "dim"}
        digest = hashlib.blake2b(json.dumps([FORMAT, facts], sort_keys=True).encode(), digest_size=16)
        digest.update("\0".join(ids).encode())
        return digest.hexdigest()


def refuse_other(place: str, difference: str) -> UserError:
    """The error for a table that was begun with something else."""
    return UserError(
        f"{place!r} holds a table of something else ({difference}): pass another place for the table or "
        "remove it first"
    )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
