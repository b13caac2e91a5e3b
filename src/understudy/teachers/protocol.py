"""What every teacher looks like to the training task."""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from understudy.data.items import Items, View
from understudy.models.outputs import Outputs

__all__ = ["Teacher", "View"]


@runtime_checkable
class Teacher(Protocol):
    """A model, a callable or a table that gives vectors for items; it is never trained.

    A live model renders the items' content at its own size and normalisation; a table looks the items' rows
    up. Either gives constants: nothing that comes out requires a gradient.

    Attributes:
        name: What to call it in errors and records.
        dim: Dimension of its embeddings.
        supplies: Which of ``embedding``, ``raw``, ``pooled``, ``logits``, ``maps`` its outputs hold; the task
            refuses a loss that needs another at start-up.
        classes: Names of the classes its logits are about, or None.
        view: What it sees unless the configuration says otherwise: the student's own view (``same``) or the
            plain image (``clean``).
        queries: How many items (times views) it was asked about so far, counted where the asking happens:
            answers that are looked up again do not count again.

    Some say more: ``preprocessing``, how images are shown to them; ``normalised``, whether their vectors have
    length 1; ``capturable``, whether a CUDA graph can record their answers.

    Example:
        >>> class Table:
        ...     name, dim, classes, view = "stored vectors", 2, None, "clean"
        ...     supplies, queries = frozenset({"embedding"}), 0
        ...     def __init__(self, vectors):
        ...         self.vectors = vectors
        ...     def outputs(self, items):
        ...         return {"embedding": self.vectors[items.rows]}
        ...     def embed(self, items):
        ...         return self.outputs(items)["embedding"]
        ...     def to(self, device):
        ...         return self
        >>> teacher = Table(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> isinstance(teacher, Teacher)
        True
        >>> teacher.embed(Items(torch.tensor([1]), ["a text"]))
        tensor([[0., 1.]])
    """

    @property
    def name(self) -> str: ...  # noqa: D102 (attributes, described above)

    @property
    def dim(self) -> int: ...  # noqa: D102

    @property
    def supplies(self) -> frozenset[str]: ...  # noqa: D102

    @property
    def classes(self) -> tuple[str, ...] | None: ...  # noqa: D102

    @property
    def view(self) -> View: ...  # noqa: D102

    @property
    def queries(self) -> int: ...  # noqa: D102

    def outputs(self, items: Items) -> Outputs:
        """The named tensors for items that are already in the teacher's view, on the items' device."""
        ...

    def embed(self, items: Items) -> Tensor:
        """The embeddings alone, (n, dim)."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Moves the teacher."""
        ...
