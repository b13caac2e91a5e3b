"""What the student sees where it is to see less than its teacher: ``student_view``."""

from __future__ import annotations

from torch import Tensor, nn

from understudy.config import RunConfig
from understudy.data.degrade import Degrader
from understudy.data.items import Items
from understudy.models.embedder import Embedder


def student_sees(config: RunConfig) -> Degrader | None:
    """What degrades the student's images in training and evaluation; None where it sees them as they are.

    Example:
        >>> student_sees(RunConfig()) is None
        True
        >>> student_sees(RunConfig(student_view={"jpeg": 20}, seed=3)).seed
        3
    """
    if config.student_view is None or config.student_view.off:
        return None
    return Degrader(config.student_view, config.seed if config.view_seed is None else config.view_seed)


class Degraded(nn.Module):
    """A student that is shown degraded images, for evaluations: what it embeds are items.

    Args:
        model: The student.
        sees: Degrades the items.

    Example:
        >>> import torch
        >>> from understudy.data.degradation import Degradation
        >>> from understudy.models import build_embedder
        >>> model = build_embedder({"backbone": "smallconv_8", "dim": 4})
        >>> worse = Degraded(model, Degrader(Degradation(scale=0.25), seed=0))
        >>> items = Items(torch.tensor([0]), torch.zeros(1, 1, 40, 40, dtype=torch.uint8))
        >>> worse.embed(worse.prepare(items)).shape
        torch.Size([1, 4])
    """

    def __init__(self, model: Embedder, sees: Degrader) -> None:
        super().__init__()
        self.model = model
        self.sees = sees

    def prepare(self, items: Items) -> Tensor:
        """The network's input for degraded items, (n, channels, H, W)."""
        return self.model.prepare(self.sees(items))

    def embed(self, x: Tensor) -> Tensor:
        """Rendered images to embeddings (n, dim)."""
        return self.model.embed(x)
