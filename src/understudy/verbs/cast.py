"""All models of an evaluation, each with its part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, get_args
from typing import cast as cast_to

import numpy as np

from understudy.data.table import Table
from understudy.errors import UserError, unknown
from understudy.evaluation import Describing, Embedded, Whitening
from understudy.evaluation.asymmetric import check_aligned
from understudy.evaluation.plans import Plan
from understudy.models.space import SpaceName
from understudy.verbs.sides import Side, Whiten
from understudy.verbs.sources import Images, Maker, Source

SPACES = ("auto", *get_args(SpaceName))


class Meeting(NamedTuple):
    """What is searched in what: the queries, the gallery they are searched in, and the model in its own."""

    asking: Embedded
    asked: Embedded
    alone: Embedded


@dataclass
class Cast:
    """The models of an evaluation.

    Attributes:
        ours: The one that is measured.
        index: The one that embeds the gallery in its stead, or None.
        guide: The teacher that agreement is measured with, or None.
        rivals: Those it is compared with, by name.
        name: What ``ours`` is called.
        space: The space that queries are in: ``own``, ``teacher``, or ``auto`` for the teacher's in a gallery
            of its dimension where the model has a projection, else its own.
        whiten: The whitening to fit, or None.
        fitting: The manifest rows it is fitted on.
    """

    ours: Side
    index: Side | None
    guide: Side | None
    rivals: dict[str, Side]
    name: str
    space: str = "auto"
    whiten: Whiten | None = None
    fitting: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _fitted: dict[tuple[Side, str], Whitening] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        images: Images,
        describing: Describing,
        *,
        query: Maker,
        gallery: Maker | None,
        teacher: Maker | None,
        against: Sequence[Maker],
        space: str = "auto",
        dims: Sequence[int] = (),
    ) -> Cast:
        """Opens every model and table, before anything is embedded.

        ``dims`` are the lengths that the first model is to be measured at.

        Raises:
            UserError: One cannot be opened, or queries and gallery cannot be compared.
        """
        if space not in SPACES:
            raise unknown("space", space, SPACES)

        def side(maker: Maker, what: str) -> Side:
            looking = describing if what == "model" else replace(describing, sees=None)
            return Side(Source.open(maker, what=what), images, looking)

        ours = side(query, "model")
        if isinstance(ours.source.maker, Table) and not (describing.plain and describing.sees is None):
            what = "a student's view needs" if describing.plain else "flip and scales need"
            raise UserError(f"{ours.source.name!r} is a table: its vectors are made, {what} a model")
        index = None if gallery is None else side(gallery, "gallery")
        rivals = [side(maker, "model") for maker in against]
        guide = None if teacher is None else side(teacher, "teacher")
        names = _distinct([one.source.name for one in (ours, *rivals)])
        cast = cls(ours, index, guide, dict(zip(names[1:], rivals, strict=True)), names[0], space)
        for asking in (ours, *rivals):
            asking.check(None, cast.space_of(asking))
            if index is not None:
                asking.check_meets(index.dim())
                check_aligned(asking.dim(cast.space_of(asking)), index.dim())
        for dim in dims:
            ours.check(dim)
        return cast

    def space_of(self, side: Side) -> SpaceName:
        """The space in which a model's queries are."""
        if self.space != "auto":
            return cast_to("SpaceName", self.space)
        space = getattr(side.source.maker, "space", None)
        fits = self.index is not None and space is not None and space.dim == self.index.dim()
        return "teacher" if fits else "own"

    @property
    def everyone(self) -> list[Side]:
        """All of them."""
        return [
            side for side in (self.ours, self.index, self.guide, *self.rivals.values()) if side is not None
        ]

    def prepare(self, images: Images, plan: Plan) -> None:
        """Makes every vector that is needed, each model's in one go.

        Beside an asymmetric search both models are measured alone where they can: a table without vectors of
        the queries is the gallery and no more.
        """
        for side in self.everyone:
            rows = plan.images
            if self.index is not None and side is not self.guide and not side.source.holds(images, rows):
                rows = plan.gallery if side is self.index else plan.query_images
            fits = self.whiten is not None and side is not self.guide and self.index in (None, side)
            side.prepare(np.union1d(rows, self.fitting) if fits else rows)

    @property
    def unreadable(self) -> np.ndarray:
        """The manifest rows that some model could not be shown."""
        return np.unique(np.concatenate([side.unreadable for side in self.everyone]))

    def meeting(self, side: Side, plan: Plan, dim: int | None = None) -> Meeting:
        """A model's queries and what they are searched in, at a length.

        In a gallery of another model both sides are cut to the length where they share one space; a prefix
        that is projected into the teacher's space is searched in the teacher's whole vectors.
        """
        space = self.space_of(side)
        asking = self._vectors(side, plan, dim, space)
        if self.index is None:
            return Meeting(asking, asking, asking)
        asked = self._vectors(self.index, plan, dim if space == "own" else None, "own")
        moved = space == "teacher" and self.space == "auto" and self.whiten is None
        return Meeting(asking, asked, self._vectors(side, plan, dim, "own") if moved else asking)

    def _vectors(self, side: Side, plan: Plan, dim: int | None, space: SpaceName) -> Embedded:
        """A model's queries and gallery, whitened as the model of the gallery is where that is asked for."""
        whiten = self.whiten
        if whiten is None:
            return side.embedded(plan, dim=dim, space=space)
        home, where = (self.index, "own") if self.index is not None else (side, space)
        if (home, where) not in self._fitted:
            self._fitted[home, where] = home.fitted(whiten, self.fitting, cast_to("SpaceName", where))
        fitted = self._fitted[home, where]
        return side.embedded(
            plan, dim=dim, space=space, whitening=lambda vectors: fitted.apply(vectors, whiten.dim)
        )

    def facts(self) -> dict[str, object]:
        """Which models they were, and the hashes of their weights."""
        parts = {"query": self.ours, "gallery": self.index, "teacher": self.guide}
        facts: dict[str, object] = {
            name: dict(side.source.facts) for name, side in parts.items() if side is not None
        }
        if self.rivals:
            facts["against"] = {name: dict(side.source.facts) for name, side in self.rivals.items()}
        return facts


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where one comes again."""
    return [
        name if names.index(name) == place else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]
