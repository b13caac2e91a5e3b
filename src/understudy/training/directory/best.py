"""The best weights so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


class Best:
    """The weights that did best on the validation split, where the configuration asks for them.

    Args:
        wanted: Whether it does; otherwise nothing is kept.

    Example:
        >>> layer, best = nn.Linear(1, 1, bias=False), Best(wanted=True)
        >>> for score, value in ((0.5, 1.0), (0.4, 0.0)):
        ...     _ = nn.init.constant_(layer.weight, value)
        ...     best.offer(score, [layer])
        >>> best.restore([layer])
        >>> layer.weight.item()
        1.0
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.score = -1.0
        self.weights: list[dict[str, Any]] = []

    def offer(self, score: float, modules: Sequence[nn.Module]) -> None:
        """Keeps the modules' weights if the score is higher than any before."""
        if self.wanted and score > self.score:
            self.score = score
            self.weights = [
                {name: value.detach().clone() for name, value in module.state_dict().items()}
                for module in modules
            ]

    def restore(self, modules: Sequence[nn.Module]) -> None:
        """Puts the kept weights back into the same modules; does nothing when none are kept."""
        if self.weights:
            for module, weights in zip(modules, self.weights, strict=True):
                module.load_state_dict(weights)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"score": self.score, "weights": self.weights}

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes back to what `state` gave."""
        self.score, self.weights = state["score"], state["weights"]
