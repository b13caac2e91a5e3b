"""Stored answers as a teacher: ``table:DIR``."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor

from understudy.data import Manifest
from understudy.data.items import Items, View
from understudy.data.table import Table
from understudy.errors import UserError
from understudy.models.outputs import Outputs


class TableTeacher:
    """Looks vectors up in an embedding table by the items' manifest rows; nobody is asked anything.

    A table knows ids and a batch knows manifest rows, so it is joined to the manifest once (`joined`); from
    then on a row number is all it takes, and no more is read than the batch.

    Args:
        table: The table.
        name: What to call it; its directory's name unless given.

    Attributes:
        view: ``same`` where the table holds views, ``clean`` where it holds one vector of each image.
        queries: 0: what was asked when the table was written is `Table.queries`.

    Example:
        >>> import pathlib, tempfile
        >>> from understudy.data.table import write_table
        >>> vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
        >>> place = pathlib.Path(tempfile.mkdtemp()) / "vit"
        >>> teacher = TableTeacher(write_table(place, vectors, ["b", "a"], metadata={"teacher": "vit"}))
        >>> teacher = teacher.join(Manifest.of_paths(".", ["a", "b"]))
        >>> teacher.embed(Items(torch.tensor([0, 1]), None)).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """

    capturable = False
    queries = 0

    def __init__(self, table: Table, *, name: str | None = None) -> None:
        self.table = table
        self.name = name or table.directory.name
        self.dim = table.dim
        self.classes = table.classes
        self.supplies = frozenset({"embedding"} if table.classes is None else {"embedding", "logits"})
        self.view: View = "clean" if table.recipe is None else "same"
        self.normalised = table.normalised
        self._places: np.ndarray | None = None
        self._ids: tuple[str, ...] = ()

    def join(self, manifest: Manifest) -> TableTeacher:
        """The same teacher for the rows of a manifest; rows it lacks are missed only when asked for."""
        teacher = TableTeacher(self.table, name=self.name)
        teacher._places = self.table.find(manifest.ids)
        teacher._ids = manifest.ids
        return teacher

    def numbers(self, rows: np.ndarray) -> np.ndarray:
        """Where the vectors of manifest rows lie in the table, (n,) int64; -1 where there are none.

        Raises:
            ValueError: It is not joined to a manifest.
        """
        if self._places is None:
            raise ValueError("a table must be joined to a manifest before it can be asked: see `joined`")
        found: np.ndarray = self._places[rows]
        return found

    def knows(self, rows: np.ndarray) -> bool:
        """Whether it has vectors of all these manifest rows."""
        return bool((self.numbers(rows) >= 0).all())

    def outputs(self, items: Items) -> Outputs:
        """The stored vectors and logits of the items' rows and views, on their device.

        Raises:
            UserError: There is none for some of the items; the first few are named.
        """
        rows = items.rows.cpu().numpy()
        numbers = self.numbers(rows)
        if (numbers < 0).any():
            self.table.rows([self._ids[row] for row in rows.tolist()])  # names those that are missing
        views = None
        if items.views is not None and self.table.num_views > 1:
            views = items.views.numbers.remainder(self.table.num_views).cpu().numpy()
        outputs: Outputs = {"embedding": self._sent(self.table.read(numbers, views), items)}
        if "logits" in self.supplies:
            outputs["logits"] = self._sent(self.table.read_logits(numbers, views), items)
        return outputs

    def embed(self, items: Items) -> Tensor:
        """The embeddings alone, (n, dim)."""
        return self.outputs(items)["embedding"]

    def to(self, device: torch.device | str) -> Self:  # noqa: ARG002 (the protocol's signature)
        """Does nothing: answers go to where the items are."""
        return self

    def _sent(self, values: np.ndarray, items: Items) -> Tensor:
        return torch.from_numpy(values).to(items.rows.device)


def open_stored(directory: str) -> TableTeacher:
    """Opens a table.

    Raises:
        UserError: It is no table, or not a whole one.
    """
    if not directory:
        raise UserError("teacher 'table:' names no table: write table:DIR")
    return TableTeacher(Table.open(directory))
