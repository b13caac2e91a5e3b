"""Peak memory of a search in a fresh process (Linux): ``python benchmarks/_search_memory.py CASE SIZE``.

Prints the extra megabytes above the inputs and the seconds as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _search_data import SMALL, Sizes, products
from torch import Tensor

from understudy import search
from understudy.metrics import RankedMetrics

CUTS = (1, 10, 100, 1000)


def judged(found: search.Block, labels: Tensor, positives: Tensor) -> tuple[Tensor, Tensor]:
    """Which results are right, and how many could be: what `RankedMetrics` takes."""
    right = (labels[found.indices] == labels[found.rows, None]) & (found.indices >= 0)
    return right, positives[found.rows]


def products_pass(sizes: Sizes, queries: int) -> Callable[[], object]:
    """Recall and MAP@R of some queries against all products."""
    points, labels = products(sizes)
    positives = labels.bincount()[labels] - 1

    def work() -> None:
        ranked = RankedMetrics(CUTS)
        some = points[:queries]
        for block in search.blocks(some, points, max(CUTS), exclude=torch.arange(len(some))):
            ranked.update(*judged(block, labels, positives))
        ranked.result()

    return work


def large_pass(sizes: Sizes, queries: int) -> Callable[[], object]:
    """The ten nearest of some queries in the large gallery."""
    generator = torch.Generator().manual_seed(0)
    gallery = torch.randn(sizes.gallery, 128, generator=generator)
    query = torch.randn(queries, 128, generator=generator)
    return lambda: search.topk(query, gallery, 10)


CASES: dict[str, Callable[[Sizes, int], Callable[[], object]]] = {
    "products": products_pass,
    "large": large_pass,
}


def in_fresh_process(case: str, queries: int, *, small: bool) -> dict[str, float]:
    """Extra MB and seconds of a case."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, __file__, case, str(queries), "small" if small else "full"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def main() -> None:
    case, queries, size = sys.argv[1:]
    CASES[case](SMALL, 16)()
    work = CASES[case](SMALL if size == "small" else Sizes(), int(queries))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = _kibibytes("VmRSS")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(json.dumps({"MB": max(0, _kibibytes("VmHWM") - before) * 1024 / 1e6, "s": seconds}))


def _kibibytes(key: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(f"{key}:")))


if __name__ == "__main__":
    main()
