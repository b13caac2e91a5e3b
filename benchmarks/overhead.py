"""What the training loop, the augmentation and the imports cost beside the work itself.

    python benchmarks/overhead.py [--out benchmarks/results/overhead.json]

Ratios within one run, medians of interleaved rounds: (a) bare forward + backward + optimiser step of the
demo's student on resident prepared images, (b) the same steps by the package's loop, clean images, (c) with
the demo's augmentation. None is compiled, and freed memory is kept for all, as the loop keeps it for itself
(`understudy.heap`). Imports are timed in fresh processes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from understudy.config import OptimConfig
from understudy.data import Augmentation, Pixels
from understudy.data.batches import Batch, Batches
from understudy.data.render import render
from understudy.data.samplers import BatchStream, ClassBalanced
from understudy.files import write_json
from understudy.heap import kept_memory
from understudy.losses import MultiSimilarity
from understudy.models import build_embedder
from understudy.study import read_study
from understudy.training.loop import Loop
from understudy.training.objective.terms import SupervisedTerm
from understudy.training.optim import build_optimiser
from understudy.training.task import Task

BATCH, SIZE, STEPS = 128, 40, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/overhead.json"))
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    study = read_study("demo")
    augmentation = Augmentation(**study.base["augment"])
    pixels = Pixels(torch.randint(0, 256, (1024, 1, SIZE, SIZE), dtype=torch.uint8), torch.arange(1024))
    labels = np.arange(1024) // 8
    settings = study.base["student"]

    bare = _bare(settings, pixels, labels)
    clean = _loop(settings, pixels, labels, Augmentation())
    augmented = _loop(settings, pixels, labels, augmentation)
    augment = _augment(settings, pixels, labels, augmentation)
    times: dict[str, list[float]] = {"bare": [], "loop": [], "augmented": [], "augment": []}
    works = (("bare", bare), ("loop", clean), ("augmented", augmented), ("augment", augment))
    with kept_memory(torch.device("cpu")):
        for _ in range(arguments.rounds):
            for name, work in works:
                times[name].append(_time(work) / STEPS)
    median = {name: statistics.median(values) for name, values in times.items()}
    imports = {name: _import_time(name) for name in ("torch", "understudy.losses")}
    result = {
        "step_ms": {name: round(1e3 * value, 2) for name, value in median.items()},
        "loop over bare": _ratio(times["loop"], times["bare"]),
        "augmented loop over bare": _ratio(times["augmented"], times["bare"]),
        "augmentation over bare": _ratio(times["augment"], times["bare"]),
        "import seconds": {name: round(value, 2) for name, value in imports.items()},
        "import understudy.losses minus import torch": round(
            imports["understudy.losses"] - imports["torch"], 2
        ),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    write_json(arguments.out, result)
    print(json.dumps(result, indent=2))


def _bare(settings: dict[str, object], pixels: Pixels, labels: np.ndarray) -> Callable[[], None]:
    model = build_embedder(settings).train()
    loss, optimiser = MultiSimilarity(), torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = render(pixels.tensor, None, model.preprocessing)
    batches = [(images[rows], torch.from_numpy(labels[rows])) for rows in _sampler(labels).plan(0)[:STEPS]]

    def work() -> None:
        for step in range(STEPS):
            x, y = batches[step % len(batches)]
            optimiser.zero_grad(set_to_none=True)
            loss(model(x)["embedding"], y).backward()
            optimiser.step()

    return work


def _loop(
    settings: dict[str, object], pixels: Pixels, labels: np.ndarray, augmentation: Augmentation
) -> Callable[[], None]:
    task = Task(
        build_embedder(settings), [SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0)]
    )

    def batches(_start: int) -> Iterator[Batch]:
        return iter(Batches(pixels, labels, BatchStream(_sampler(labels)), augmentation=augmentation))

    loop = Loop(
        task, build_optimiser(task, OptimConfig()), batches, steps=STEPS, rate=lambda _: 1.0, clip=5.0
    )

    def work() -> None:
        loop.step = 0
        loop.run()

    return work


def _augment(
    settings: dict[str, object], pixels: Pixels, labels: np.ndarray, augmentation: Augmentation
) -> Callable[[], None]:
    pre = build_embedder(settings).preprocessing
    stream = Batches(pixels, labels, BatchStream(_sampler(labels)), augmentation=augmentation)

    def work() -> None:
        for _ in range(STEPS):
            items = next(stream).items
            render(items.content, items.views, pre)

    return work


def _sampler(labels: np.ndarray) -> ClassBalanced:
    return ClassBalanced(np.arange(len(labels)), labels, BATCH // 4, 4, replacement=False, seed=0)


def _time(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def _import_time(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    return statistics.median(runs)


if __name__ == "__main__":
    main()
