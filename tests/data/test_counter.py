"""Counter-based randomness: the published generator, the same everywhere, and random."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from understudy.data.counter import hashed, mix_integer, uniform

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def test_mix_integer_gives_the_published_stream_of_splitmix64() -> None:
    # the first three outputs of the reference implementation seeded with 0
    assert [mix_integer((n * GOLDEN) & MASK) for n in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_hashed_equals_unsigned_python_arithmetic() -> None:
    random = np.random.default_rng(0)
    rows = random.integers(-(2**63), 2**63, size=200)
    numbers = random.integers(0, 2**40, size=200)
    for seed in (0, 1, 2**63 + 5, -3):
        found = hashed(seed, torch.from_numpy(rows), torch.from_numpy(numbers)).tolist()
        key = mix_integer(seed)
        for value, row, number in zip(found, rows.tolist(), numbers.tolist(), strict=True):
            inner = mix_integer((row + key) & MASK)
            assert value & MASK == mix_integer((inner + number) & MASK)


def test_uniform_does_not_depend_on_the_batch() -> None:
    rows, numbers = torch.arange(50) * 7, torch.arange(50) + 100
    whole = uniform(5, rows, numbers, range(20))
    chosen = torch.tensor([49, 3, 3, 17])
    assert torch.equal(uniform(5, rows[chosen], numbers[chosen], range(20)), whole[chosen])
    assert torch.equal(uniform(5, rows, numbers, range(12, 15)), whole[:, 12:15])


def test_uniform_is_uniform_and_its_arguments_are_independent() -> None:
    rows = torch.arange(4000)
    draws = torch.stack([uniform(0, rows, torch.full_like(rows, k), range(5)) for k in range(5)])
    assert draws.dtype == torch.float32
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.histc(draws.double(), bins=100, min=0, max=1)
    expected = draws.numel() / 100
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert 50 < chi_square < 160  # 99 degrees of freedom
    flat = draws.permute(1, 0, 2).reshape(4000, 25)
    correlation = torch.corrcoef(flat.T) - torch.eye(25)
    assert correlation.abs().max() < 0.08  # standard deviation 0.016
    assert torch.corrcoef(torch.stack((flat[:-1, 0], flat[1:, 0])))[0, 1].abs() < 0.06


def test_seed_row_and_number_each_change_the_draw() -> None:
    one = torch.tensor([1])
    draws = [
        uniform(0, one, one, range(1)),
        uniform(1, one, one, range(1)),
        uniform(0, one + 1, one, range(1)),
        uniform(0, one, one + 1, range(1)),
    ]
    assert len({float(draw) for draw in draws}) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_bits_on_the_gpu() -> None:
    rows, numbers = torch.arange(1000) * 12345, torch.arange(1000) + 2**35
    assert torch.equal(
        uniform(9, rows.cuda(), numbers.cuda(), range(20)).cpu(), uniform(9, rows, numbers, range(20))
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=pytest.mark.skipif(shutil.which("cc") is None, reason="needs a compiler")),
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
def test_compiled_it_draws_the_same_bits(device: str) -> None:
    """A compiler must not take the products for whole numbers that never wrap around."""

    def draws(rows: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return torch.cat((uniform(7, rows, numbers, range(10)), uniform(-5, rows, numbers, range(15, 20))), 1)

    rows, numbers = torch.tensor([0, 3, 12_935, 2**40]), torch.tensor([9, 0, 123_456, 3])
    compiled = torch.compile(draws, dynamic=False)(rows.to(device), numbers.to(device))
    assert torch.equal(compiled.cpu(), draws(rows, numbers))
