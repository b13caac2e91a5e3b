"""Plans of batches: pure functions of (seed, epoch), and of what was mined where negatives are."""

from __future__ import annotations

from understudy.data.samplers.base import Sampler, deal, shard
from understudy.data.samplers.classes import ClassBalanced, EveryClassOnce, RandomPairs
from understudy.data.samplers.mining import hardest_negatives
from understudy.data.samplers.mixed import Mixed
from understudy.data.samplers.neighbours import TeacherNeighbours
from understudy.data.samplers.pairs import CrossCameraPairs
from understudy.data.samplers.stream import BatchStream, Step
from understudy.data.samplers.tuples import Tuples
from understudy.data.samplers.unlabelled import Unlabelled

__all__ = [
    "BatchStream",
    "ClassBalanced",
    "CrossCameraPairs",
    "EveryClassOnce",
    "Mixed",
    "RandomPairs",
    "Sampler",
    "Step",
    "TeacherNeighbours",
    "Tuples",
    "Unlabelled",
    "deal",
    "hardest_negatives",
    "shard",
]
