"""What a model gives back."""

from __future__ import annotations

from typing import TypedDict

from torch import Tensor


class Outputs(TypedDict, total=False):
    """The named tensors of one forward pass over n items; a key is there only when the model supplies it.

    Keys:
        embedding: (n, dim), as `Embedder.encode` returns it: L2-normalised unless the model says otherwise.
        raw: (n, dim), the embedding before normalisation.
        projected: (n, space.dim), the embedding in the teacher's space, only from a model that keeps a
            projection into it.
        pooled: (n, pooled_dim), the backbone's features after pooling, before the head.
        logits: (n, classes), only from a model with a classifier.
        maps: the outputs of the layers asked for with `Embedder.request_maps`, by name.

    Example:
        >>> import torch
        >>> outputs: Outputs = {"embedding": torch.ones(2, 3)}
        >>> sorted(outputs)
        ['embedding']
    """

    embedding: Tensor
    raw: Tensor
    projected: Tensor
    pooled: Tensor
    logits: Tensor
    maps: dict[str, Tensor]
