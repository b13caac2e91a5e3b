"""All models of an evaluation, each with its part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from understudy.data.table import Table
from understudy.errors import UserError
from understudy.evaluation import Describing, Embedded, Whitening
from understudy.evaluation.asymmetric import check_aligned
from understudy.verbs.plans import Plan
from understudy.verbs.sides import Side, Whiten
from understudy.verbs.sources import Images, Maker, Source


@dataclass
class Cast:
    """The models of an evaluation.

    Attributes:
        ours: The one that is measured.
        index: The one that embeds the gallery in its stead, or None.
        guide: The teacher that agreement is measured with, or None.
        rivals: Those it is compared with, by name.
        name: What ``ours`` is called.
        whiten: The whitening to fit, or None.
        fitting: The manifest rows it is fitted on.
    """

    ours: Side
    index: Side | None
    guide: Side | None
    rivals: dict[str, Side]
    name: str
    whiten: Whiten | None = None
    fitting: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _fitted: dict[Side, Whitening] = field(default_factory=dict)

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
    ) -> Cast:
        """Opens every model and table, before anything is embedded.

        Raises:
            UserError: One cannot be opened, or queries and gallery cannot be compared.
        """

        def side(maker: Maker, what: str) -> Side:
            return Side(Source.open(maker, what=what), images, describing)

        ours = side(query, "model")
        if isinstance(ours.source.maker, Table) and not describing.plain:
            raise UserError(
                f"{ours.source.name!r} is a table: its vectors are made, flip and scales need a model"
            )
        index = None if gallery is None else side(gallery, "gallery")
        rivals = [side(maker, "model") for maker in against]
        if index is not None:
            for asking in (ours, *rivals):
                check_aligned(asking.source.maker.dim, index.source.maker.dim)
        guide = None if teacher is None else side(teacher, "teacher")
        names = _distinct([one.source.name for one in (ours, *rivals)])
        return cls(ours, index, guide, dict(zip(names[1:], rivals, strict=True)), names[0])

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

    def vectors(self, side: Side, plan: Plan) -> Embedded:
        """A model's queries and gallery, whitened as the model of the gallery is where that is asked for."""
        if self.whiten is None:
            return side.embedded(plan)
        home = self.index or side
        if home not in self._fitted:
            self._fitted[home] = home.fitted(self.whiten, self.fitting)
        return side.embedded(plan, self._fitted[home], self.whiten.dim)

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
