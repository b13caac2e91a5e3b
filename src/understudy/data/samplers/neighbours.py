"""Batches of images and their neighbours in a teacher's space: lists worth ranking, without labels."""

from __future__ import annotations

import numpy as np

from understudy.data.samplers.base import Sampler
from understudy.errors import UserError


class TeacherNeighbours(Sampler):
    """Seeds with some of the images that a teacher finds nearest to them; labels play no part.

    A random batch of a large set holds next to no two images that are alike, so most of what a relational
    loss compares lies at the one distance of strangers. Here every seed brings ``neighbours`` images drawn
    from its ``neighbourhood`` nearest, which are ranked against each other and against the other groups. No
    image is twice in a batch; where the neighbourhoods of a batch overlap so much that places stay empty, any
    other images fill them.

    An epoch has as many batches as hold every image once. Seeds go through one shuffle of all images after
    another, so an image is a seed once in about 1 + ``neighbours`` epochs; the few that fill no whole batch
    at the end of a shuffle wait for the next. The plan is a pure function of seed, epoch and neighbourhoods.
    Source: none of the four papers; batches of queries and what lies near them are common where lists are
    mined (Radenović, Tolias, Chum, TPAMI 2019).

    Args:
        rows: (n,) manifest rows to draw from.
        batch_size: Images in a batch, at most n.
        neighbours: Images beside each seed.
        nearest: (n, k) int64, for each of ``rows`` the places in ``rows`` of its nearest others, nearest
            first, with -1 where there are no more; None: given later, by `learn`.
        neighbourhood: Among how many nearest the neighbours are drawn; cut to n - 1.
        seed: The seed of all plans.
        batches: Batches in an epoch; none: as many as hold every image.

    Raises:
        UserError: The batch is larger than the set or has no room for a seed and a neighbour, or there are
            more neighbours than a neighbourhood has.

    Example:
        >>> nearest = np.array([[1], [0], [3], [2]])
        >>> sampler = TeacherNeighbours(np.arange(10, 14), 2, 1, nearest, neighbourhood=1, seed=0)
        >>> sorted(map(sorted, sampler.plan(0).tolist()))
        [[10, 11], [12, 13]]
    """

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        neighbours: int,
        nearest: np.ndarray | None = None,
        *,
        neighbourhood: int,
        seed: int,
        batches: int | None = None,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.rows = np.asarray(rows, dtype=np.int64)
        self.neighbours = neighbours
        if not 1 < batch_size <= len(self.rows):
            raise UserError(
                f"a batch of {batch_size} of {len(self.rows)} images has no seeds with neighbours: "
                "set sampler.batch_size between 2 and the number of training images"
            )
        if neighbours > neighbourhood:
            raise UserError(
                f"{neighbours} neighbours cannot be drawn from a neighbourhood of {neighbourhood}: "
                "raise sampler.neighbourhood or lower sampler.neighbours"
            )
        self.neighbourhood = min(neighbourhood, len(self.rows) - 1)
        self._groups = -(-batch_size // (1 + neighbours))
        self._batches = -(-len(self.rows) // batch_size) if batches is None else batches
        self._nearest: np.ndarray | None = None
        if nearest is not None:
            self.learn(nearest)

    def __len__(self) -> int:
        return self._batches

    def learn(self, nearest: np.ndarray) -> None:
        """Takes over who is near whom.

        Args:
            nearest: As in the constructor; only the first ``neighbourhood`` columns count.

        Raises:
            ValueError: Another shape, or a place that does not exist.
        """
        nearest = np.asarray(nearest, dtype=np.int64)
        if nearest.ndim != 2 or len(nearest) != len(self.rows) or nearest.shape[1] < 1:
            raise ValueError(f"nearest is ({len(self.rows)}, k) places, not {nearest.shape}")
        if nearest.min() < -1 or nearest.max() >= len(self.rows):
            raise ValueError(f"nearest holds places from -1 to {len(self.rows) - 1} and no others")
        self._nearest = nearest[:, : self.neighbourhood]

    def plan(self, epoch: int) -> np.ndarray:
        """Seed after seed, each followed by its neighbours.

        Raises:
            RuntimeError: The neighbourhoods are not known yet (`learn`).
        """
        if self._nearest is None:
            raise RuntimeError("the teacher's neighbourhoods are not known: call learn first")
        generator = self._generator(epoch)
        plan = np.empty((len(self), self.batch_size), dtype=np.int64)
        for batch, seeds in zip(plan, self._seeds(epoch), strict=True):
            batch[:] = self._batch(seeds, self._nearest, generator)
        chosen: np.ndarray = self.rows[plan]
        return chosen

    def _seeds(self, epoch: int) -> np.ndarray:
        """(batches, groups) places: this epoch's part of an endless row of shuffles."""
        each = self._groups
        decks = len(self.rows) // each  # whole batches of seeds in one shuffle
        start = epoch * len(self)
        numbers = np.arange(start, start + len(self))
        seeds = np.empty((len(self), each), dtype=np.int64)
        for shuffle in np.unique(numbers // decks).tolist():
            order = np.random.Generator(np.random.PCG64([self.seed & ((1 << 64) - 1), shuffle, 1]))
            whole = order.permutation(len(self.rows))[: decks * each].reshape(decks, each)
            mine = numbers // decks == shuffle
            seeds[mine] = whole[numbers[mine] % decks]
        return seeds

    def _batch(self, seeds: np.ndarray, nearest: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """(batch_size,) places, group after group."""
        near = generator.permuted(nearest[seeds], axis=1)
        # First choices of all seeds, then second choices, …: who is wanted twice goes to the earlier wish.
        wishes = np.concatenate((seeds, near.T.ravel()))
        group = np.concatenate((np.arange(len(seeds)), np.tile(np.arange(len(seeds)), near.shape[1])))
        first = np.sort(np.unique(wishes, return_index=True)[1])
        first = first[wishes[first] >= 0]
        wishes, group = wishes[first], group[first]
        order = np.argsort(group, kind="stable")
        wishes, group = wishes[order], group[order]
        rank = np.arange(len(group)) - np.searchsorted(group, group)  # 0 is the seed itself
        taken = rank <= self.neighbours
        batch = np.concatenate((wishes[taken], wishes[~taken]))
        if taken.sum() >= self.batch_size:
            return wishes[taken][: self.batch_size]
        if len(batch) < self.batch_size:
            others = generator.permutation(len(self.rows))
            batch = np.concatenate((batch, others[~np.isin(others, batch)]))
        return batch[: self.batch_size]
