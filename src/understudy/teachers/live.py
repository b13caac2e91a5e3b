"""A model as teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from understudy.data.items import Items, View
from understudy.data.preprocessing import Preprocessing
from understudy.models.embedder import Embedder
from understudy.models.outputs import Outputs


class LiveTeacher:
    """A model that is asked and never trained: evaluation mode always, no gradients, no parameters to find.

    It is not an ``nn.Module``, so a task that holds one neither trains it, nor wraps it for distribution,
    nor writes it into the student's checkpoint. Images are rendered at the model's own size and
    normalisation. Its outputs may be used as constants in a computation that is differentiated. Mixed
    precision is the caller's choice (``torch.autocast`` around the call).

    Args:
        model: The model; it is frozen in place.
        name: What to call it; its backbone's name unless given.

    Attributes:
        view: ``same``: the teacher sees the student's view.
        capturable: A CUDA graph can record its answers.
        queries: How many items (times views) it was asked about.

    Example:
        >>> from understudy.models import build_embedder
        >>> teacher = LiveTeacher(build_embedder({"backbone": "smallconv_8", "dim": 16}))
        >>> items = Items(torch.tensor([0]), torch.zeros(1, 1, 40, 40, dtype=torch.uint8))
        >>> teacher.embed(items).shape, teacher.embed(items).requires_grad, sorted(teacher.supplies)
        (torch.Size([1, 16]), False, ['embedding', 'maps', 'pooled', 'raw'])
    """

    view: View = "same"
    capturable = True

    def __init__(self, model: Embedder, *, name: str | None = None) -> None:
        self.model = model.requires_grad_(requires_grad=False).eval()
        self.name = name or model.config.backbone
        self.dim = model.dim
        self.classes = model.classes
        self.queries = 0
        self._outputs: Callable[[Items], Outputs] = self._rendered
        logits = {"logits"} if model.classifier is not None else set()
        self.supplies = frozenset({"embedding", "raw", "pooled", "maps"} | logits)

    @property
    def preprocessing(self) -> Preprocessing:
        """How the model is shown images."""
        return self.model.preprocessing

    @property
    def normalised(self) -> bool:
        """Whether its vectors have length 1."""
        return self.model.config.normalize

    def outputs(self, items: Items) -> Outputs:
        """The named tensors of items, rendered as the model needs them, on the items' device.

        Raises:
            UserError: The items are no images.
        """
        self.queries += len(items)
        with torch.no_grad():
            self._ready()
            return self._outputs(items)

    def embed(self, items: Items) -> Tensor:
        """The embeddings alone, (n, dim)."""
        self.queries += len(items)
        with torch.no_grad():
            return self._ready().embed(self.model.prepare(items))

    def wrap(self, wrapper: Callable[[Callable[..., Outputs]], Callable[..., Outputs]] | None) -> None:
        """Lets `outputs` be computed in another way, see `understudy.training.task.Task.wrap`."""
        self._outputs = self._rendered if wrapper is None else wrapper(self._rendered)

    def replayed(self, count: int) -> None:
        """Counts what a recorded step asks when it is replayed: nothing of this is run again then."""
        self.queries += count

    def request_maps(self, names: Sequence[str]) -> None:
        """Asks for the outputs of layers, see `Embedder.request_maps`."""
        self.model.request_maps(names)

    def to(self, device: torch.device | str) -> Self:
        """Moves the model."""
        self.model.to(device)
        if torch.device(device).type == "cuda":
            self.model.to(memory_format=torch.channels_last)
        return self

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 (the signature of nn.Module)
        """Does nothing: a teacher stays in evaluation mode."""
        return self

    def _rendered(self, items: Items) -> Outputs:
        return self.model.forward(self.model.prepare(items))

    def _ready(self) -> Embedder:
        """The model in evaluation mode, whoever may have called ``train`` on it."""
        return self.model.eval() if self.model.training else self.model
