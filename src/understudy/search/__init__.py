"""Exact nearest neighbours, a block at a time, on any device.

>>> import torch
>>> from understudy import search
>>> scores, indices = search.topk(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]), k=1)
>>> indices.tolist(), scores.tolist()
([[1]], [[1.0]])
"""

from __future__ import annotations

from understudy.search._exclusion import Exclude
from understudy.search._memory import default_block_bytes
from understudy.search._scoring import Metric
from understudy.search.exact import Block, blocks, topk
from understudy.search.ranks import rank_blocks, ranks
from understudy.search.scores import score_blocks

__all__ = [
    "Block",
    "Exclude",
    "Metric",
    "blocks",
    "default_block_bytes",
    "rank_blocks",
    "ranks",
    "score_blocks",
    "topk",
]
