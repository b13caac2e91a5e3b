"""What a model is asked to embed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from understudy.data.preprocessing import Preprocessing
from understudy.data.render import render
from understudy.data.views import Views, sent

View = Literal["same", "clean", "independent"]


@dataclass(frozen=True)
class Items:
    """n items of a manifest, with the views of them that are wanted.

    Attributes:
        rows: (n,) int64 manifest rows; embedding tables look vectors up by them.
        content: (n, C, H, W) uint8 decoded images, or a sequence of n texts.
        views: The recipes of the views; None for the clean images.
        mirrored: Whether the mirror images of the views are wanted.

    Example:
        >>> items = Items(torch.tensor([4, 2]), ["four", "two"])
        >>> len(items), items.seen("clean").views
        (2, None)
    """

    rows: Tensor
    content: Any
    views: Views | None = None
    mirrored: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def seen(self, view: View) -> Items:
        """The items as another model is to see them: the same views, clean, or views of their own."""
        if view == "same" or self.views is None:
            return self
        return replace(self, views=None if view == "clean" else self.views.independent())

    def in_mirror(self) -> Items:
        """The same views, to be seen in a mirror once they are rendered: left and right change places."""
        return replace(self, mirrored=not self.mirrored)

    def rendered(self, pre: Preprocessing) -> Tensor:
        """The images as a network sees them, see `understudy.data.render.render`."""
        images = render(self.content, self.views, pre)
        return images.flip(-1) if self.mirrored else images

    def __getitem__(self, index: slice) -> Items:
        """Some of the items, in order."""
        views = None if self.views is None else self.views[index]
        return replace(self, rows=self.rows[index], content=self.content[index], views=views)

    def to(self, device: torch.device | str) -> Items:
        """The items with their tensors on another device; texts stay where they are."""
        content = self.content
        if isinstance(content, Tensor):
            content = sent(content, device)
        views = None if self.views is None else self.views.to(device)
        return replace(self, rows=sent(self.rows, device), content=content, views=views)
