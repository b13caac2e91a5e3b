"""Measures what a run's own summary does not say: re-identification, or a search of the teacher's table."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from understudy.files import write_json
from understudy.verbs import evaluate


@dataclass(frozen=True)
class Evaluation:
    """One call of `understudy.verbs.evaluate`.

    Attributes:
        model: A saved model's directory, or a table of vectors.
        source: The data.
        split: The split; none: the data's own queries and gallery.
        gallery: A table to search in instead of the model's own vectors.
        device: Where to embed.
        out: The file of the figures; one that exists is not measured again.
    """

    model: str
    source: str
    split: str | None
    gallery: str | None
    device: str
    out: str

    def run(self) -> None:
        """Measures and writes ``metrics``, and under ``beside`` those of each model alone."""
        report = evaluate(
            self.model,
            self.source,
            split=self.split,
            gallery=self.gallery,
            device=self.device,
            confidence=None,
        )
        beside = {name: dict(one.metrics) for name, one in report.beside.items()}
        found: dict[str, Any] = {"metrics": dict(report.metrics), "beside": beside}
        write_json(self.out, found)


def measure_all(evaluations: Sequence[Evaluation], *, workers: int) -> None:
    """Measures what has no file yet, several at a time."""
    missing = [one for one in evaluations if not Path(one.out).is_file()]
    if workers <= 1 or len(missing) <= 1:
        for one in missing:
            one.run()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        list(pool.map(_run, [asdict(one) for one in missing]))


def _run(values: dict[str, Any]) -> None:
    Evaluation(**values).run()
