"""How hard each loss pulls beside the labels: the weight at which its gradient is as long as theirs.

    python benchmarks/loss_pulls.py [--study typefaces-beyond] [--steps 300] [--out FILE]

A student learns from labels alone for some steps. Then, over a few batches, the gradient of every loss that
the study's rows try is taken in the student's weights: the length of the labels' own by that of the loss's at
weight 1 is the weight at which both pull equally hard, the middle one of the study's search.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy import __version__
from understudy.config import OptimConfig, RunConfig, merge, parse
from understudy.data.batches import Batch
from understudy.files import write_json, write_text
from understudy.study import StudyConfig, read_study
from understudy.training.assemble import Parts, assemble
from understudy.training.loop import Loop
from understudy.training.objective.step import Step
from understudy.training.objective.terms import Term
from understudy.training.optim import build_optimiser
from understudy.training.progress import Reporter
from understudy.training.task import Task
from understudy.training.workshop import Workshop

_NOTHING = 1e-12
"""The weight of the losses while labels are learnt from."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", default="typefaces-beyond")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loss-pulls"))
    arguments = parser.parse_args()
    study = read_study(arguments.study)
    config = _config(study, arguments.steps)
    parts = assemble(config, Workshop(), Reporter())
    task = parts.task
    _train(parts, config.optim)
    batches = list(islice(parts.batches(arguments.steps), arguments.batches))
    labels, *others = task.loss_terms()
    theirs = _length(task, labels, batches)
    pulls = [
        {"loss": term.name, "pull": (pull := _length(task, term, batches) / theirs), "weight": 1 / pull}
        for term in others
    ]
    results = {
        "study": study.name,
        "steps": arguments.steps,
        "batches": arguments.batches,
        "understudy": __version__,
        "torch": torch.__version__,
        "labels": labels.name,
        "pulls": pulls,
    }
    write_json(arguments.out.with_suffix(".json"), results)
    write_text(arguments.out.with_suffix(".md"), _page(results))
    print(_page(results))


def _config(study: StudyConfig, steps: int) -> RunConfig:
    """The study's base with every loss that its rows try, each once, at no weight to speak of."""
    losses = {
        one["name"]: {**one, "weight": _NOTHING}
        for row in study.rows
        if row.choose is not None
        for settings in row.choose.among
        for one in settings.get("losses", ())
    }
    value = merge(study.base, {"losses": list(losses.values()), "steps": steps, "seed": 0})
    config: RunConfig = parse(RunConfig, value, where=study.name)
    return config


def _train(parts: Parts, optim: OptimConfig) -> None:
    """From labels alone, at the full rate: the student is to be on its way, not at rest."""
    optimiser = build_optimiser(parts.task, optim)
    Loop(parts.task, optimiser, parts.batches, steps=parts.steps, rate=lambda _: 1.0).run()


def _length(task: Task, term: Term, batches: list[Batch]) -> float:
    """The median length of a loss's gradient in the student's weights, at weight 1."""
    weights = [weight for weight in task.student.parameters() if weight.requires_grad]
    lengths = []
    for batch in batches:
        known: Mapping[str, Any] = task.brought(batch) | task.teach(batch.items)
        outputs = task.outputs(batch.items)
        value = term(Step(batch.step, outputs, known, batch.labels, task.draws, batch.counts or ()))
        slopes = torch.autograd.grad(value, weights, allow_unused=True)
        lengths.append(_norm(slope for slope in slopes if slope is not None))
    return statistics.median(lengths)


def _norm(slopes: Iterator[Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(list(slopes)))


def _page(results: Mapping[str, Any]) -> str:
    how = (
        "The length of a loss's gradient in the student's weights at weight 1, by that of the labels', and "
        f"the weight at which both pull equally hard: after {results['steps']} steps from labels alone, "
        f"median of {results['batches']} batches. "
        f"understudy {results['understudy']}, torch {results['torch']}."
    )
    head = ["| loss | pull at weight 1 | weight of an equal pull |", "| --- | --: | --: |"]
    rows = [f"| {one['loss']} | {one['pull']:.3g} | {one['weight']:.2g} |" for one in results["pulls"]]
    title = f"# How hard losses pull beside {results['labels']} on {results['study']}"
    return "\n".join([title, "", how, "", *head, *rows]) + "\n"


if __name__ == "__main__":
    main()
