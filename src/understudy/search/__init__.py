"""Exact nearest neighbours, a block at a time, on any device.

>>> import torch
>>> from understudy import search
>>> scores, indices = search.topk(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0], [2.0, 0.0]]), k=1)
>>> indices.tolist(), scores.tolist()
([[1]], [[1.0]])
"""

from __future__ import annotations

from understudy.search._exclusion import Exclude
from understudy.search._scoring import Metric
from understudy.search.exact import BLOCK_BYTES, Block, blocks, topk
from understudy.search.scores import score_blocks

__all__ = ["BLOCK_BYTES", "Block", "Exclude", "Metric", "blocks", "score_blocks", "topk"]
