"""Vectors of decoded images by any model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from understudy.data.items import Items
from understudy.data.pixels import Pixels
from understudy.errors import UserError
from understudy.evaluation.describe import Describing
from understudy.heap import kept_memory


class Embeds(Protocol):
    """What `embed_pixels` asks of a model: a teacher embeds items; an `Embedder` also has ``prepare(items)``.

    With ``prepare``, ``embed`` is given what that returns, else the items themselves.
    """

    @property
    def embed(self) -> Callable[..., Tensor]:
        """(n, d) embeddings."""
        ...


def embed_pixels(
    model: Embeds,
    pixels: Pixels,
    rows: Tensor | np.ndarray | None = None,
    *,
    batch_size: int = 256,
    describing: Describing | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Embeds decoded images, clean, in batches, in eval mode and without gradients.

    Args:
        model: An `Embedder` or a teacher. Its modules' modes are put back afterwards.
        pixels: The images, on any device.
        rows: (n,) manifest rows to embed, in this order; by default all that ``pixels`` holds.
        batch_size: Images at a time.
        describing: Several looks at each image, averaged; by default one.
        progress: Told after each batch how many are done and how many there are.

    Returns:
        (n, d) float32 on the model's device.

    Raises:
        UserError: There are no rows, or the model cannot look at images as ``describing`` wants.

    Example:
        >>> class Mean:
        ...     def embed(self, items):
        ...         return items.content.float().mean((2, 3))
        >>> pixels = Pixels(torch.tensor([[[[1, 3]]], [[[5, 5]]]], dtype=torch.uint8), torch.tensor([8, 6]))
        >>> embed_pixels(Mean(), pixels, torch.tensor([6, 8])).tolist()
        [[5.0], [2.0]]
    """
    wanted = pixels.rows if rows is None else torch.as_tensor(rows, dtype=torch.int64)
    if not len(wanted):
        raise UserError("there are no images to embed: check the split")
    device = _device(model, pixels.device)
    prepare: Callable[[Items], Any] = getattr(model, "prepare", lambda items: items)
    look = describing or Describing()
    if not look.plain and not hasattr(model, "prepare"):
        raise UserError(f"a {type(model).__name__} renders its images itself: flip and scales need a model")
    vectors: Tensor | None = None
    done = 0
    with _evaluating(model), torch.no_grad(), kept_memory(device):
        if not look.plain:
            look.check(model.embed, prepare(look.seen(pixels.items(wanted[:1]).to(device))), _name(model))
        for items in pixels.parts(torch.split(wanted, batch_size)):
            embedding = look(model.embed, prepare(look.seen(items.to(device))))
            if vectors is None:
                vectors = embedding.new_empty(len(wanted), embedding.shape[1], dtype=torch.float32)
            vectors[done : done + len(items)] = embedding
            done += len(items)
            if progress is not None:
                progress(done, len(wanted))
    assert vectors is not None
    return vectors


def _name(model: object) -> str:
    """What to call a model in a sentence."""
    return str(getattr(getattr(model, "config", None), "backbone", type(model).__name__))


def _device(model: object, default: torch.device) -> torch.device:
    """Where a module's weights are; teachers see to it themselves."""
    if isinstance(model, nn.Module):
        first = next(model.parameters(), None)
        return default if first is None else first.device
    return default


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """Every module in eval mode, and each back in its own mode at the end: some may be frozen on purpose."""
    modes = {module: module.training for module in model.modules()} if isinstance(model, nn.Module) else {}
    if isinstance(model, nn.Module):
        model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
