"""Embedding by all processes: each its share, once, and everybody gets the whole."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from understudy.data import Pixels
from understudy.evaluation import Describing, embed_pixels
from understudy.evaluation.embed import Embeds
from understudy.training.processes import distributed
from understudy.training.processes.gathering import gather


def embed_together(
    model: Embeds,
    pixels: Pixels,
    rows: Tensor | np.ndarray,
    *,
    batch_size: int = 256,
    describing: Describing | None = None,
) -> Tensor:
    """Embeds decoded images as `embed_pixels` does, shared out to the processes batch by batch.

    The batches are those of one process, so the vectors are equal to its own to the bit on the same hardware.

    Args:
        model: An `Embedder` or a teacher, the same on every process.
        pixels: The images, the same on every process.
        rows: (n,) manifest rows to embed, in this order.
        batch_size: Images at a time.
        describing: How the model looks at them; by default once, as they are.

    Returns:
        (n, d) float32 on the model's device, on every process.

    Raises:
        UserError: There are no rows.
    """
    wanted = torch.as_tensor(rows, dtype=torch.int64)
    own = wanted[own_batches(len(wanted), batch_size)]
    if len(wanted) and not len(own):
        return join(None)
    return join(embed_pixels(model, pixels, own, batch_size=batch_size, describing=describing))


def own_batches(rows: int, batch_size: int) -> slice:
    """Which of some rows fall to this process, when they are shared out in whole batches.

    Example:
        >>> own_batches(10, 4)
        slice(0, 12, None)
    """
    mine = distributed.share(-(-rows // batch_size))
    return slice(mine.start * batch_size, mine.stop * batch_size)


def join(own: Tensor | None) -> Tensor:
    """The vectors that the processes made, in rank order, on each of them.

    Args:
        own: (n_r, d) vectors of this process, on a device of one kind everywhere; None: it has none.

    Raises:
        ValueError: No process has any.
    """
    if distributed.world() == 1 and own is not None:
        return own
    shapes = distributed.gather_objects(None if own is None else (*own.shape, own.device.type))
    known = next((shape for shape in shapes if shape is not None), None)
    if known is None:
        raise ValueError("no process has vectors")
    vectors = own if own is not None else torch.empty(0, known[1], device=known[2])
    return gather(vectors, [0 if shape is None else shape[0] for shape in shapes])
