"""Embedding by all processes: each its share, once, and everybody gets the whole."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from understudy.data import Pixels
from understudy.evaluation import Describing, embed_pixels
from understudy.evaluation.embed import Embeds
from understudy.training import distributed
from understudy.training.gathering import gather


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
    batches = -(-len(rows) // batch_size)
    if distributed.world() == 1 or batches == 0:
        return embed_pixels(model, pixels, rows, batch_size=batch_size, describing=describing)
    wanted = torch.as_tensor(rows, dtype=torch.int64)
    shares = [distributed.share(batches, rank) for rank in range(distributed.world())]
    counts = [len(wanted[s.start * batch_size : s.stop * batch_size]) for s in shares]
    mine = shares[distributed.rank()]
    own = wanted[mine.start * batch_size : mine.stop * batch_size]
    vectors = None
    if len(own):
        vectors = embed_pixels(model, pixels, own, batch_size=batch_size, describing=describing)
    known = distributed.broadcast_object(None if vectors is None else (vectors.shape[1], vectors.device.type))
    assert known is not None  # the first share is never empty
    if vectors is None:
        vectors = torch.empty(0, known[0], device=known[1])
    return gather(vectors, counts)
