"""Who is near whom in a teacher's space, for the samplers that ask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from understudy.config import RunConfig
from understudy.data.samplers import Mixed, Sampler, TeacherNeighbours
from understudy.errors import UserError, suggest
from understudy.search import topk


def neighbouring(sampler: Sampler) -> tuple[TeacherNeighbours, ...]:
    """The samplers that need a teacher's neighbourhoods: this one, or parts of it.

    Example:
        >>> from understudy.data.samplers import Unlabelled
        >>> neighbouring(Unlabelled(np.arange(4), 2, seed=0))
        ()
    """
    parts = sampler.parts if isinstance(sampler, Mixed) else (sampler,)
    return tuple(part for part in parts if isinstance(part, TeacherNeighbours))


def teacher_of_neighbourhoods(config: RunConfig) -> str:
    """The name of the teacher whose neighbourhoods make the batches.

    Raises:
        UserError: There is no teacher, or none of that name.
    """
    if not config.teachers:
        raise UserError("the sampler 'teacher_knn' needs a teacher: add one under `teachers`")
    name = config.sampler.teacher or next(iter(config.teachers))
    if name not in config.teachers:
        raise UserError(f"sampler.teacher {name!r} is not a teacher: {suggest(name, config.teachers)}")
    return name


def nearest_others(vectors: Tensor, count: int) -> np.ndarray:
    """The places of the nearest other rows by the cosine, exact, ties by the lower place.

    Args:
        vectors: (n, d), n at least 2.
        count: How many, cut to n - 1.

    Returns:
        (n, count) int64, nearest first.

    Example:
        >>> nearest_others(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1).tolist()
        [[1], [0], [1]]
    """
    count = min(count, len(vectors) - 1)
    places: np.ndarray = topk(vectors, vectors, count, exclude="self")[1].cpu().numpy()
    return places


def learn_neighbourhoods(sampler: Sampler, embed: Callable[[Tensor], Tensor]) -> None:
    """Tells a sampler who is near whom; does nothing where it does not ask.

    Args:
        sampler: The run's sampler.
        embed: Gives a teacher's (n, d) embeddings of the clean images of n manifest rows.
    """
    for part in neighbouring(sampler):
        part.learn(nearest_others(embed(torch.from_numpy(part.rows)), part.neighbourhood))
