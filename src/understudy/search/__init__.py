"""Nearest neighbours, exact unless asked otherwise, a block at a time, on any device.

>>> import torch
>>> from understudy import search
>>> scores, indices = search.topk(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]), k=1)
>>> indices.tolist(), scores.tolist()
([[1]], [[1.0]])
"""

from __future__ import annotations

from understudy.search._certified import Tally
from understudy.search._codes import SameCodes
from understudy.search._exclusion import Exclude
from understudy.search._memory import default_block_bytes
from understudy.search._precision import full_float32
from understudy.search._scoring import Metric
from understudy.search._tiled import Block
from understudy.search.exact import Backend, Precision, blocks, topk
from understudy.search.ranks import rank_blocks, ranks
from understudy.search.scores import score_blocks
from understudy.search.sharded import topk_sharded, topk_split

__all__ = [
    "Backend",
    "Block",
    "Exclude",
    "Metric",
    "Precision",
    "SameCodes",
    "Tally",
    "blocks",
    "default_block_bytes",
    "full_float32",
    "rank_blocks",
    "ranks",
    "score_blocks",
    "topk",
    "topk_sharded",
    "topk_split",
]
