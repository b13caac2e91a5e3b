"""Scores in low precision, and how far from the float32 ones they can lie."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.search._precision import float32_sums, tf32_products
from understudy.search._scoring import Scoring

_LARGEST = 1e38
"""Products and squared distances beyond this could overflow where they are rounded."""

_SLACK = 1.01
"""The bound is itself computed in floating point, and leaves out products of two small terms."""

_ROWS = 65536


class Coarse:
    """The scores of query rows against gallery rows in bf16 or TF32, a tile at a time, with an error bound.

    A query q and a gallery row g are multiplied as q̃ and g̃, rounded to 8 significant bits (bf16) or 11 (TF32,
    rounded here, so that what the hardware does with the lower bits plays no part). Then, whatever the
    numbers,

        |q̃·g̃ − q·g| ≤ |q̃ − q|·|g| + |q̃|·|g̃ − g|      (Cauchy-Schwarz)

    where the lengths of the two differences are not estimated by the unit roundoff (2⁻⁸ or 2⁻¹¹ of the
    vectors' own, at most) but *measured*, which is 2 to 3 times less. Products of rounded entries are exact
    in float32; adding d of them up costs at most d·2⁻²²·|q|·|g| on tensor cores, which cut instead of
    rounding, and at most d·2⁻²³·|q|·|g| in the float32 scores compared with. For |g| stands the longest
    gallery row. With P the sum of these,

    * ``cosine`` (q and g are unit vectors here) and ``dot``: the bound is P. A bf16 tile also rounds the
      score s̃ itself, by at most 2⁻⁸·|s̃|. Rounding keeps the order, so only the last candidate's counts.
    * ``euclidean``: s = 2·q·g − |g|² − |q|² from the same squares in both precisions: the bound is
      2·P + 2⁻²¹·(|q| + |g|)² for the three float32 operations on either side. Where the product itself comes
      out in bf16 (on the CPU), 2·2⁻⁸·|q|·|g| more.

    Args:
        scoring: The float32 (or float64) scores, whose metric and vectors are taken.
        precision: ``"bf16"`` or ``"tf32"``.

    Attributes:
        usable: False where numbers are so large that low precision might overflow.
    """

    def __init__(self, scoring: Scoring, precision: str) -> None:
        self.scoring = scoring
        self.bf16 = precision == "bf16"
        self.euclidean = scoring.metric == "euclidean"
        self.cuda = scoring.query.is_cuda
        self.query, query_errors, lengths = _round(scoring.query, bf16=self.bf16)
        self.gallery, gallery_errors, others = self.query, query_errors, lengths
        if scoring.gallery is not scoring.query:
            self.gallery, gallery_errors, others = _round(scoring.gallery, bf16=self.bf16)
        longest = others.max()
        self._bound = self._bounds(lengths, query_errors, longest, gallery_errors.max())
        largest = (lengths.max() if len(lengths) else longest) + longest
        self.usable = bool(torch.isfinite(self._bound).all() & (largest.square() < _LARGEST))
        self.dtype = torch.bfloat16 if self.bf16 and not self.euclidean else torch.float32

    def _bounds(self, lengths: Tensor, errors: Tensor, longest: Tensor, largest_error: Tensor) -> Tensor:
        """(n,) how far any coarse score lies from the float32 one, before a bf16 tile rounds it."""
        dim = self.query.shape[1]
        summing = dim * (2**-22 + 2**-23) * lengths * longest
        flushing = dim * 2.0**-125 * (1 + lengths + longest)  # numbers too small for the exponent
        bound = errors * longest + (lengths + errors) * largest_error + summing + flushing
        if self.euclidean:
            bound = 2 * bound + 2**-21 * (lengths + longest).square()
            if self.bf16 and not self.cuda:
                bound = bound + 2 * 2**-8 * lengths * longest
        return bound * _SLACK

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        """Writes the coarse scores of the query rows against the gallery rows into ``out``, of `dtype`."""
        query, gallery = self.query[rows], self.gallery[columns]
        if not self.bf16:
            with tf32_products():
                torch.mm(query, gallery.T, out=out)
        elif out.dtype == torch.bfloat16 or not self.cuda:
            with float32_sums():
                if out.dtype == torch.bfloat16:
                    torch.mm(query, gallery.T, out=out)
                else:
                    out.copy_(torch.mm(query, gallery.T))
        else:
            with float32_sums():
                torch.mm(query, gallery.T, out_dtype=torch.float32, out=out)
        scoring = self.scoring
        scoring.finish(out, scoring.gallery_squares[columns], scoring.query_squares[rows])

    def reach(self, rows: slice, last: Tensor) -> Tensor:
        """The float32 score that no gallery row outside the candidates exceeds.

        Args:
            rows: The queries.
            last: (r,) the least coarse score among each query's candidates.

        Returns:
            (r,) in the type of the float32 (or float64) scores.
        """
        last = last.to(self._bound.dtype)
        reach = last + self._bound[rows]
        return reach + _SLACK * 2**-8 * last.abs() if self.dtype == torch.bfloat16 else reach


def _round(x: Tensor, *, bf16: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The rows in low precision, by how much each was changed, and how long each is."""
    low = torch.empty_like(x, dtype=torch.bfloat16 if bf16 else torch.float32)
    errors, lengths = x.new_empty(len(x)), x.new_empty(len(x))
    for start in range(0, len(x), _ROWS):
        here = slice(start, start + _ROWS)
        low[here] = x[here] if bf16 else _to_tf32(x[here].float())
        errors[here] = (low[here].to(x.dtype) - x[here]).norm(dim=1)
        lengths[here] = x[here].norm(dim=1)
    return low, errors, lengths


def _to_tf32(x: Tensor) -> Tensor:
    """Float32 numbers rounded to the 11 significant bits of TF32.

    Example:
        >>> _to_tf32(torch.tensor([1 + 2**-10, 1 + 2**-11, 1 - 2**-13, -3.0])).tolist()
        [1.0009765625, 1.0009765625, 1.0, -3.0]
    """
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
