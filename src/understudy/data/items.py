"""What a model is asked to embed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from understudy.data.views import Views, sent
from understudy.errors import UserError

View = Literal["same", "clean", "independent"]


@dataclass(frozen=True)
class Items:
    """n items of a manifest, with the views of them that are wanted.

    Attributes:
        rows: (n,) int64 manifest rows; embedding tables look vectors up by them.
        content: (n, C, H, W) uint8 decoded images, or a sequence of n texts.
        views: The recipes of the views; None for the clean images.

    Example:
        >>> items = Items(torch.tensor([4, 2]), ["four", "two"])
        >>> len(items), items.seen("clean").views
        (2, None)
    """

    rows: Tensor
    content: Any
    views: Views | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def seen(self, view: View) -> Items:
        """The items as another model is to see them: the same views, clean, or views of their own."""
        if view == "same" or self.views is None:
            return self
        return replace(self, views=None if view == "clean" else self.views.independent())

    def mirrored(self) -> Items:
        """The same views of the same images, each seen in a mirror: left and right change places.

        Raises:
            UserError: The items are no images.
        """
        if not isinstance(self.content, Tensor):
            raise UserError("texts have no mirror image: leave flip out")
        views = None if self.views is None else replace(self.views, mirrored=not self.views.mirrored)
        return Items(self.rows, self.content.flip(-1), views)

    def __getitem__(self, index: slice) -> Items:
        """Some of the items, in order."""
        views = None if self.views is None else self.views[index]
        return Items(self.rows[index], self.content[index], views)

    def to(self, device: torch.device | str) -> Items:
        """The items with their tensors on another device; texts stay where they are."""
        content = self.content
        if isinstance(content, Tensor):
            content = sent(content, device)
        views = None if self.views is None else self.views.to(device)
        return Items(sent(self.rows, device), content, views)
