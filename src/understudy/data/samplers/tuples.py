"""Tuples of a query, a positive that is known to match, and negatives mined with the model in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data.samplers.base import Sampler
from understudy.data.samplers.mining import hardest_negatives
from understudy.errors import UserError


class Tuples(Sampler):
    """Pairs drawn anew each epoch, each with the hardest negatives of a pool that is drawn anew too.

    Source: Radenović, Tolias, Chum, "Fine-tuning CNN image retrieval with no human annotation", TPAMI 2019,
    and their code for retrieval-SfM-120k: 2,000 pairs an epoch, 5 negatives each out of a pool of 22,000,
    found with the student as it is when the epoch begins. A negative is never of the query's class, and no
    two negatives of a tuple are of one class.

    The pairs and the pool are a pure function of (seed, epoch); the plan is one of those and of the
    embeddings that `refresh` is given when the epoch begins. These are gone when the model has changed, so
    what was mined is the sampler's only state: `state_dict` belongs into the checkpoint.

    Args:
        rows: (n,) manifest rows that may be seen.
        labels: Class codes of all manifest rows; unlabelled rows are left out.
        pairs: (p, 2) manifest rows of queries and their positives; pairs of rows left out are too.
        batch_size: Images in a batch, a whole number of tuples.
        negatives: Negatives of each query.
        queries: Pairs drawn for an epoch, no pair twice; all where there are fewer.
        pool: Images among which negatives are looked for; all where there are fewer, more where so many
            would have too few classes.
        seed: The seed of all plans.

    Attributes:
        together: Images of a tuple: 2 + negatives.

    Raises:
        UserError: The batch size is no whole number of tuples, or there are too few pairs or classes.

    Example:
        >>> labels, pairs = np.array([0, 0, 1, 2]), np.array([[0, 1]])
        >>> sampler = Tuples(np.arange(4), labels, pairs, 4, negatives=2, seed=0)
        >>> sampler.refresh(0, lambda rows: torch.tensor(rows)[:, None].float())
        >>> sampler.plan(0).tolist()
        [[0, 1, 2, 3]]
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        pairs: np.ndarray,
        batch_size: int,
        *,
        negatives: int = 5,
        queries: int = 2000,
        pool: int = 22_000,
        seed: int,
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        self.negatives = negatives
        self.together = 2 + negatives
        self._labels = np.asarray(labels, dtype=np.int64)
        rows = np.sort(np.asarray(rows, dtype=np.int64))
        self._rows = rows[self._labels[rows] >= 0]
        self._pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        self._pairs = self._pairs[np.isin(self._pairs, self._rows).all(1)]
        if batch_size % self.together:
            fitting = max(1, batch_size // self.together) * self.together
            raise UserError(
                f"batch_size {batch_size} is no whole number of tuples of {self.together} images (query, "
                f"positive, {negatives} negatives): make it {fitting}"
            )
        tuples = batch_size // self.together
        if len(self._pairs) < tuples:
            raise UserError(
                f"there are {len(self._pairs)} pairs of labelled training images and a batch takes {tuples}: "
                "make the batch smaller or prepare data with more pairs"
            )
        classes = len(np.unique(self._labels[self._rows]))
        if classes <= negatives:
            raise UserError(
                f"{negatives} negatives of different classes need {negatives + 1} classes and the training "
                f"images have {classes}: ask for fewer negatives"
            )
        self._queries = max(tuples, min(queries, len(self._pairs)))
        self._pool = pool
        self._epoch = -1
        self._mined = np.empty((0, negatives), dtype=np.int64)

    def __len__(self) -> int:
        return self._queries * self.together // self.batch_size

    def draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """What an epoch is made of, before anything is mined.

        Args:
            epoch: Number of the epoch.

        Returns:
            (q, 2) int64 pairs in the order of the plan, and (m,) int64 rows of the pool, ascending.
        """
        generator = self._generator(epoch)
        pairs = self._pairs[generator.permutation(len(self._pairs))[: self._queries]]
        shuffled = generator.permutation(self._rows)
        first = np.sort(np.unique(self._labels[shuffled], return_index=True)[1])  # where each class comes in
        size = max(self._pool, int(first[self.negatives]) + 1)
        return pairs, np.sort(shuffled[:size])

    def refresh(self, epoch: int, embed: Callable[[np.ndarray], Tensor]) -> None:
        """Mines the negatives of an epoch, once: nothing is done where they are known already.

        Args:
            epoch: Number of the epoch that begins.
            embed: Gives the (n, d) embeddings of n manifest rows, by the model as it is now.
        """
        if self._epoch == epoch:
            return
        pairs, pool = self.draw(epoch)
        rows, places = np.unique(np.concatenate([pairs[:, 0], pool]), return_inverse=True)
        vectors = embed(rows)  # an image that is both is embedded once
        place, codes = (torch.from_numpy(a).to(vectors.device) for a in (places, self._labels[rows]))
        asked, offered = place[: len(pairs)], place[len(pairs) :]
        found = hardest_negatives(
            vectors[asked], vectors[offered], codes[asked], codes[offered], self.negatives
        )
        self._mined = pool[found.cpu().numpy()]
        self._epoch = epoch

    def plan(self, epoch: int) -> np.ndarray:
        """Tuple after tuple: query, positive, negatives, the hardest first.

        Raises:
            RuntimeError: The negatives of this epoch were not mined (`refresh`).
        """
        if self._epoch != epoch:
            raise RuntimeError(f"the negatives of epoch {epoch} are not mined: call refresh first")
        tuples = np.concatenate([self.draw(epoch)[0], self._mined], axis=1)
        return tuples.reshape(-1)[: len(self) * self.batch_size].reshape(len(self), self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """The epoch that was mined last (-1: none), and its negatives, (q, negatives) int64."""
        return {"epoch": self._epoch, "negatives": torch.from_numpy(self._mined)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over what another sampler of the same data and settings had mined."""
        self._epoch, self._mined = int(state["epoch"]), state["negatives"].cpu().numpy()
