"""The vectors of some rows of a manifest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Vectors:
    """The vectors of some manifest rows.

    Attributes:
        rows: (r,) int64, ascending.
        values: (r, d), one for each.

    Example:
        >>> vectors = Vectors(np.array([3, 7]), torch.tensor([[1.0], [2.0]]))
        >>> vectors.of(np.array([7, 3, 7])).tolist()
        [[2.0], [1.0], [2.0]]
    """

    rows: np.ndarray
    values: Tensor

    def of(self, wanted: np.ndarray) -> Tensor:
        """The vectors of some of the rows, in their order."""
        places = torch.from_numpy(np.searchsorted(self.rows, wanted))
        return self.values[places.to(self.values.device)]
