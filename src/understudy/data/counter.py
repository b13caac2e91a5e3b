"""Randomness that is a function of where it is used: no state, no order, the same bits on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.data.constants import constant

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def hashed(seed: int, rows: Tensor, numbers: Tensor) -> Tensor:
    """Hashes (seed, row, number) to 64 well mixed bits, elementwise.

    Rounds of the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
    generators", 2014), on int64 tensors whose products wrap around, so the result is the same to the bit on
    every device and does not depend on what else is in the batch.

    Args:
        seed: Any integer; its low 64 bits count.
        rows: int64, any shape.
        numbers: int64, of a shape that broadcasts with ``rows``.

    Returns:
        int64 of the broadcast shape; all 64 bits are used, so about half of the values are negative.

    Example:
        >>> hashed(0, torch.tensor([0, 1]), torch.tensor([0, 0])).tolist()
        [2558736989570252433, -7741005862522800391]
    """
    key = mix_integer(seed)
    return _mix(_mix(rows + _signed(key)) + numbers)


def uniform(seed: int, rows: Tensor, numbers: Tensor, channels: range) -> Tensor:
    """Draws uniform numbers that depend on (seed, row, number, channel) and on nothing else.

    Args:
        seed: Any integer.
        rows: (n,) int64.
        numbers: (n,) int64, which draw of that row.
        channels: Which independent numbers of that draw; not negative.

    Returns:
        (n, len(channels)) float32 in [0, 1), multiples of 2**-24, on the device of ``rows``.

    Example:
        >>> rows, numbers = torch.tensor([3, 4]), torch.tensor([0, 9])
        >>> both = uniform(7, rows, numbers, range(4))
        >>> torch.equal(uniform(7, rows[1:], numbers[1:], range(2, 4)), both[1:, 2:])
        True
    """
    # Channel c adds c + 1 golden ratios, the stride of splitmix64 itself. They are multiplied here, where
    # they wrap around: a compiler takes whole numbers made of an arange for indices, which never do.
    steps = tuple(_signed((channel + 1) * _GOLDEN & _MASK) for channel in channels)
    words = _mix(hashed(seed, rows, numbers)[:, None] + constant(steps, rows.device, torch.int64))
    return ((words >> 40) & ((1 << 24) - 1)).to(torch.float32) * 2.0**-24


def mix_integer(value: int) -> int:
    """One round of splitmix64 on a Python integer, as an unsigned 64-bit number.

    Example:
        >>> hex(mix_integer(0))  # the first number of splitmix64 seeded with 0
        '0xe220a8397b1dcdaf'
    """
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(_GOLDEN)
    x = (x ^ _shift(x, 30)) * _signed(_FIRST)
    x = (x ^ _shift(x, 27)) * _signed(_SECOND)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, by: int) -> Tensor:
    """A logical right shift: int64's own copies the sign, the mask takes the copies away."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
