"""Peak memory of one pass in a fresh process (Linux): ``python benchmarks/_losses_memory.py CASE``.

Prints the extra megabytes and the milliseconds as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.losses import hard_darkrank, rkd_angle
from understudy.losses.plackett_luce_exact import plackett_luce_kl

Pass = Callable[[int, int], Callable[[], object]]


def embeddings(n: int, d: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Unit vectors of a student, which wants a gradient, and a teacher."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (F.normalize(torch.randn(n, d, generator=generator)).to(dtype) for _ in range(2))
    return student.requires_grad_(), teacher


def scores(queries: int, items: int) -> tuple[Tensor, Tensor]:
    """Scores −3·d³ of distances between 0.2 and 1.4, of a student and a teacher."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        -3 * (0.2 + 1.2 * torch.rand(queries, items, generator=generator)) ** 3 for _ in range(2)
    )
    return student.requires_grad_(), teacher


def gradient(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> Tensor:
    """Forward and backward."""
    return torch.autograd.grad(loss(student, teacher).sum(), student)[0]


def exact(student: Tensor, teacher: Tensor) -> Tensor:
    """The package's exact soft form, with the arguments in this order."""
    return plackett_luce_kl(teacher, student)


def _embedded(loss: Callable[[Tensor, Tensor], Tensor]) -> Pass:
    return lambda n, d: partial(gradient, loss, *embeddings(n, d))


def _scored(queries: int, items: int) -> Callable[[], object]:
    return partial(gradient, exact, *scores(queries, items))


# The pass by its sizes, the sizes, and tiny ones that load what it needs.
CASES: dict[str, tuple[Pass, tuple[int, int], tuple[int, int]]] = {
    "soft 16": (_scored, (64, 16), (2, 4)),
    "soft 20": (_scored, (8, 20), (2, 4)),
    "hard": (_embedded(hard_darkrank), (1024, 512), (64, 32)),
    "angle": (_embedded(rkd_angle), (1024, 512), (64, 32)),
}


def in_fresh_process(case: str) -> dict[str, float]:
    """Extra MB and ms of a case."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(Path(__file__)), case]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def main() -> None:
    build, sizes, tiny = CASES[sys.argv[1]]
    build(*tiny)()
    work = build(*sizes)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is held now
    before = _kibibytes("VmRSS")
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    print(json.dumps({"MB": max(0, _kibibytes("VmHWM") - before) * 1024 / 1e6, "ms": 1e3 * seconds}))


def _kibibytes(key: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith(f"{key}:")))


if __name__ == "__main__":
    main()
