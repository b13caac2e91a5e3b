"""The memory of a search is that of its blocks, never that of the table."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from understudy import search

CHILD = """
import re, torch
from pathlib import Path
from understudy import search

torch.set_num_threads(1)
x = torch.randn(6000, 8, generator=torch.Generator().manual_seed(0))
codes = torch.arange(6000) % 3  # each query is kept from a third of the gallery


def mebibytes(key):
    return int(re.search(key + r":\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def through(found):
    for _ in found:
        pass


def kept(rows):
    return search.SameCodes(codes[:rows], codes[:rows])


cases = {
    "top 10": lambda y, **b: search.topk(y, y, 10, exclude="self", **b),
    "half": lambda y, **b: search.topk(y, y, 10, precision="bf16", metric="euclidean", **b),
    "codes": lambda y, **b: search.topk(y, y, 10, exclude=kept(len(y)), **b),
    "all": lambda y, **b: through(search.blocks(y, y, len(y), exclude="self", **b)),
    "scores": lambda y, **b: through(search.score_blocks(y, y, **b)),
}
for name, work in cases.items():
    work(x[:500])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = mebibytes("VmRSS")
    work(x, block_bytes=8 * 2**20)
    print(name.replace(" ", "_"), mebibytes("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
@pytest.mark.usefixtures("quick_start")
def test_memory_stays_near_the_block_and_far_from_the_table() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    extra = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert set(extra) == {"top_10", "half", "codes", "all", "scores"}
    assert all(value < 60 for value in extra.values()), extra  # MiB; the table is 137, all rankings are 412


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bf16", "tf32"])
@pytest.mark.parametrize("k", [10, 30_000])
def test_memory_on_the_gpu_is_bounded_too(precision: search.Precision, k: int) -> None:
    x = torch.randn(30_000, 16, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in search.blocks(x, x, k, precision=precision, block_bytes=64 * 2**20):
        pass
    assert torch.cuda.max_memory_allocated() - before < 512 * 2**20  # the table is 3433 MiB
    assert search.default_block_bytes("cuda") <= 2**30
