"""The endless stream of batches that a run consumes, and the two integers it resumes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from understudy.data.samplers.base import Sampler, share


@dataclass(frozen=True)
class Step:
    """One batch of the stream, or one process's share of it.

    Attributes:
        epoch: Number of the epoch.
        index: Number of the batch in its epoch.
        number: Number of the batch in the whole run.
        start: Position of the first row in the global batch.
        rows: int64 manifest rows of this process.
        counts: How many rows every process has, in the order of their ranks.
    """

    epoch: int
    index: int
    number: int
    start: int
    rows: np.ndarray
    counts: tuple[int, ...]


class BatchStream:
    """Gives the batches of a sampler, epoch after epoch, without end.

    Args:
        sampler: Plans the global batches.
        rank: Number of this process; it gets its contiguous share of each batch.
        world: Number of processes.
        before_epoch: Told the number of each epoch before it is planned, in the middle of a run too.

    Example:
        >>> from understudy.data.samplers import Unlabelled
        >>> stream = BatchStream(Unlabelled(np.arange(4), 2, seed=0))
        >>> [next(stream).number for _ in range(3)], stream.state_dict()
        ([0, 1, 2], {'epoch': 1, 'index': 1})
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        rank: int = 0,
        world: int = 1,
        before_epoch: Callable[[int], None] = lambda _: None,
    ) -> None:
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} is not one of {world} processes")
        self.sampler = sampler
        self.rank = rank
        self.world = world
        self._before_epoch = before_epoch
        self._epoch = 0
        self._index = 0
        self._planned: tuple[int, np.ndarray] | None = None
        together = sampler.together
        shares = [share(sampler.batch_size // together, one, world) for one in range(world)]
        self._share = [edge * together for edge in shares[rank]]
        self._counts = tuple((stop - start) * together for start, stop in shares)

    def __iter__(self) -> Iterator[Step]:
        return self

    def __next__(self) -> Step:
        if self._planned is None or not self.planned:
            self._before_epoch(self._epoch)
            self._planned = (self._epoch, self.sampler.plan(self._epoch))
        start, stop = self._share
        rows = self._planned[1][self._index, start:stop]
        number = self._epoch * len(self.sampler) + self._index
        step = Step(self._epoch, self._index, number, start, rows, self._counts)
        self._index += 1
        if self._index == len(self.sampler):
            self._epoch, self._index = self._epoch + 1, 0
        return step

    @property
    def planned(self) -> bool:
        """Whether the batch that comes next is planned, so that asking for it now changes nothing else."""
        return self._planned is not None and self._planned[0] == self._epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch and index of the batch that comes next."""
        return {"epoch": self._epoch, "index": self._index}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continues where a stream of the same sampler stood."""
        epoch, index = int(state["epoch"]), int(state["index"])
        if epoch < 0 or not 0 <= index < len(self.sampler):
            raise ValueError(f"batch {index} of epoch {epoch} is not one of {len(self.sampler)} an epoch")
        self._epoch, self._index = epoch, index
