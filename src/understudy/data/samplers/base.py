"""What every sampler is: a plan of an epoch's batches, drawn from seed and epoch where that is enough."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np


class Sampler(ABC):
    """Plans the batches of an epoch.

    The plan of an epoch is a pure function of the seed and the epoch's number, so a run resumes from two
    integers, and every process of a distributed run plans the same global batches and takes its own share
    (`shard`). Only what depends on the model as it was, as mined negatives do, is a sampler's state.

    Attributes:
        batch_size: Images in a (global) batch.
        seed: The seed of all plans.
        together: So many images after each other are never shared out to two processes.
    """

    batch_size: int
    seed: int
    together: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Batches in an epoch; the same in every epoch."""

    @abstractmethod
    def plan(self, epoch: int) -> np.ndarray:
        """The batches of an epoch.

        Args:
            epoch: Number of the epoch, from 0.

        Returns:
            (batches, batch_size) int64 manifest rows.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must keep beside the stream's position: nothing, but for mined negatives."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (most samplers have none)
        """Goes back to what `state_dict` gave."""

    def _generator(self, epoch: int) -> np.random.Generator:
        """PCG64 seeded by both numbers; numpy keeps its streams from version to version."""
        return np.random.Generator(np.random.PCG64([self.seed & ((1 << 64) - 1), epoch]))


def deal(count: int, hands: int, size: int, generator: np.random.Generator) -> np.ndarray:
    """Deals ``hands`` hands of ``size`` cards from shuffled decks of ``count`` cards.

    Every card is dealt before any is dealt again, also across hands, and no card is twice in a hand unless
    the hand is larger than the deck (then every card is in it ⌊size / count⌋ or ⌈size / count⌉ times).

    Args:
        count: Cards in the deck, numbered from 0.
        hands: How many hands.
        size: Cards in a hand.
        generator: Source of the shuffles.

    Returns:
        (hands, size) int64 card numbers.

    Example:
        >>> hands = deal(6, 4, 3, np.random.default_rng(0))
        >>> sorted(hands[:2].ravel().tolist())
        [0, 1, 2, 3, 4, 5]
    """
    if size >= count:
        decks = np.tile(np.arange(count), (hands, -(-size // count), 1))
        return generator.permuted(decks, axis=2).reshape(hands, -1)[:, :size]
    dealt = np.empty((hands, size), dtype=np.int64)
    deck = generator.permutation(count)
    for hand in dealt:
        if len(deck) >= size:
            hand[:], deck = deck[:size], deck[size:]
            continue
        fresh = generator.permutation(count)
        missing = size - len(deck)
        chosen = np.flatnonzero(~np.isin(fresh, deck))[:missing]  # not twice in a hand
        hand[:] = np.concatenate((deck, fresh[chosen]))
        deck = np.delete(fresh, chosen)
    return dealt


def shard(batch: np.ndarray, rank: int, world: int) -> np.ndarray:
    """The contiguous share of a global batch that one process works on; every image in exactly one share.

    Args:
        batch: (n, ...) global batch.
        rank: Number of the process, from 0.
        world: Number of processes.

    Returns:
        ⌊n / world⌋ or ⌈n / world⌉ rows of ``batch``, the longer shares first.

    Example:
        >>> [shard(np.arange(5), rank, 2).tolist() for rank in range(2)]
        [[0, 1, 2], [3, 4]]
    """
    start, stop = share(len(batch), rank, world)
    return batch[start:stop]


def share(count: int, rank: int, world: int) -> tuple[int, int]:
    """First and one past the last position of a process's share of ``count`` images.

    Example:
        >>> share(5, 1, 2)
        (3, 5)
    """
    each, more = divmod(count, world)
    start = rank * each + min(rank, more)
    return start, start + each + (rank < more)
