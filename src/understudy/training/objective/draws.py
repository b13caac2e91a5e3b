"""Random numbers of the losses: a pure function of (seed, step, loss), in a recorded step too."""

from __future__ import annotations

import torch
from torch import Generator


class Draws:
    """Generators that are seeded anew for every step.

    One generator a loss is kept for the whole run, because a recorded step (a CUDA graph) can only draw from
    the generators that it was recorded with; `seed_for` seeds them before a replay.

    Args:
        seed: The run's seed; the same on every process.

    Example:
        >>> draws = Draws(seed=1)
        >>> first = torch.rand(1, generator=draws.generator(5, 0, torch.device("cpu")))
        >>> again = torch.rand(1, generator=draws.generator(5, 0, torch.device("cpu")))
        >>> other = torch.rand(1, generator=draws.generator(6, 0, torch.device("cpu")))
        >>> bool(first == again), bool(first == other)
        (True, False)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[int, Generator] = {}

    def generator(self, step: int, salt: int, device: torch.device) -> Generator:
        """The generator of one loss, seeded for a step.

        Args:
            step: The step's number.
            salt: Tells the losses apart.
            device: Where the numbers are drawn.
        """
        if salt not in self._generators:
            self._generators[salt] = Generator(device)
        generator = self._generators[salt]
        if device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
            generator.manual_seed(self._seed(step, salt))
        return generator

    def seed_for(self, step: int) -> None:
        """Seeds every generator that was asked for so far."""
        for salt, generator in self._generators.items():
            generator.manual_seed(self._seed(step, salt))

    def all(self) -> list[Generator]:
        """Every generator that was asked for so far."""
        return list(self._generators.values())

    def _seed(self, step: int, salt: int) -> int:
        return ((self.seed * 1_000_003 + step) * 1_000_003 + salt) % 2**63
