"""What teachers that are not ours have in common: shown images, counted, not believed blindly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from understudy.data.items import Items, View
from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError
from understudy.models.outputs import Outputs
from understudy.teachers.answers import as_matrix, check


class AskedTeacher:
    """A teacher of which only the answers are known.

    It sees the clean image unless told otherwise, so that one question an image is enough. Whoever derives
    from it says what `answer` is.

    Args:
        name: What to call it.
        preprocessing: How images are shown to it.
        dim: The dimension of its vectors; None: found out by asking about one grey image.
        classes: The names of its classes, where it gives logits.
        normalised: Whether its vectors have length 1; None where nobody says.

    Raises:
        UserError: ``dim`` is no number of dimensions, or ``classes`` are no names.

    Attributes:
        queries: How many images (times views) it was asked about, the grey one and failures included.
        grey: How many of these were the grey one.
    """

    view: View = "clean"
    capturable = False

    def __init__(
        self,
        name: str,
        preprocessing: Preprocessing,
        *,
        dim: int | None = None,
        classes: Sequence[str] | None = None,
        normalised: bool | None = None,
    ) -> None:
        self.name = name
        self.preprocessing = preprocessing
        self.classes = _names(classes, name)
        self.supplies = frozenset({"embedding"} if classes is None else {"embedding", "logits"})
        self.normalised = normalised
        self.queries = self.grey = 0
        self.device = torch.device("cpu")
        self._dim = _whole(dim, name)
        self._ids: Sequence[str] | None = None

    def answer(self, shown: Tensor) -> Mapping[str, Any]:
        """What it gives for images as its preprocessing makes them, (n, channels, H, W) float32."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Dimension of its vectors; asks about one grey image where nothing else says it."""
        if self._dim is None:
            channels, (height, width) = self.preprocessing.channels, self.preprocessing.resize
            grey = torch.full((1, channels, height, width), 127, dtype=torch.uint8, device=self.device)
            self.grey += 1
            given = self._given(Items(torch.zeros(1, dtype=torch.int64, device=self.device), grey))
            self._dim = given["embedding"].shape[1]  # what it says about grey need not be of use
        return self._dim

    def outputs(self, items: Items) -> Outputs:
        """The answers for items, on their device, checked.

        Raises:
            UserError: The items are no images, or an answer is not what it must be.
        """
        outputs = self._given(items)
        for name, matrix in outputs.items():
            known = self._dim if name == "embedding" else len(self.classes or ())
            check(matrix, items, known, self.name, self._ids)
        if self._dim is None:
            self._dim = outputs["embedding"].shape[1]
        return outputs  # type: ignore[return-value]

    def embed(self, items: Items) -> Tensor:
        """The embeddings alone, (n, dim)."""
        return self.outputs(items)["embedding"]

    def call_images(self, ids: Sequence[str]) -> None:
        """Tells it what each manifest row is called, for errors."""
        self._ids = ids

    def to(self, device: torch.device | str) -> Self:
        """Says on which device images will come."""
        self.device = torch.device(device)
        return self

    def _given(self, items: Items) -> dict[str, Tensor]:
        """One matrix for each thing that it supplies, on the items' device."""
        if not isinstance(items.content, Tensor):
            raise UserError(f"the teacher {self.name!r} embeds images: the items given are texts")
        with torch.no_grad():
            shown = items.rendered(self.preprocessing)
            self.queries += len(items)
            given = self.answer(shown)
        for name in self.supplies:
            if name not in given:
                raise UserError(f"the teacher {self.name!r} gave no {name}: it gave {', '.join(given)}")
        return {
            name: as_matrix(given[name], self.name, name).to(items.rows.device)
            for name in sorted(self.supplies)
        }


def _whole(dim: object, name: str) -> int | None:
    """What a teacher says that its dimension is."""
    if dim is None or (isinstance(dim, int | np.integer) and not isinstance(dim, bool) and dim > 0):
        return None if dim is None else int(dim)
    raise UserError(f"the teacher {name!r} says that its dim is {dim!r}: it must be a whole number from 1")


def _names(classes: object, name: str) -> tuple[str, ...] | None:
    """What a teacher says that its classes are."""
    if classes is None or (isinstance(classes, Iterable) and not isinstance(classes, str)):
        return None if classes is None else tuple(map(str, classes))
    raise UserError(f"the teacher {name!r} says that its classes are {classes!r}: list their names")
