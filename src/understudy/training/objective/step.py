"""What one training step knows, gathered over all processes, and handed to every loss term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from understudy.models.outputs import Outputs
from understudy.training.objective.draws import Draws
from understudy.training.processes import distributed
from understudy.training.processes.gathering import gather, sizes


@dataclass
class Step:
    """One batch as the losses see it: vectors and labels, no images.

    Attributes:
        number: The step, counted from 0.
        outputs: What the student gave for the rows of this process.
        taught: What each teacher gave for the same rows.
        labels: (n_local,) class numbers, -1 where unlabelled.
        draws: The losses' random numbers; the same on every process.
        counts: Rows of every process; asked of the others, which waits for the device, where it is not known.
    """

    number: int
    outputs: Outputs
    taught: Mapping[str, Outputs]
    labels: Tensor
    draws: Draws = field(default_factory=lambda: Draws(0))
    counts: tuple[int, ...] = ()
    _gathered: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.counts = self.counts or sizes(self.labels.shape[0], self.labels.device)

    def everywhere(self, local: Tensor) -> Tensor:
        """The rows of all processes, gathered once however many losses ask; gradients flow back."""
        if id(local) not in self._gathered:  # the pair keeps `local` alive, so that its id stays its own
            self._gathered[id(local)] = (local, gather(local, self.counts))
        return self._gathered[id(local)][1]

    def own_rows(self) -> Tensor:
        """Where this process's rows stand among the gathered ones."""
        start = sum(self.counts[: distributed.rank()])
        return torch.arange(start, start + self.labels.shape[0], device=self.labels.device)

    def local_share(self) -> float:
        """The factor on a mean over local rows that makes the average over processes a global mean."""
        counts = self.counts
        return len(counts) * counts[distributed.rank()] / sum(counts)

    def generator(self, salt: int) -> torch.Generator:
        """Random numbers for one loss, a pure function of (seed, step, loss), equal on all processes."""
        return self.draws.generator(self.number, salt, self.labels.device)
