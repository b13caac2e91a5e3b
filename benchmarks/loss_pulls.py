"""How hard each loss pulls beside the labels: the weight at which its gradient is as long as theirs.

    python benchmarks/loss_pulls.py [--study NAME] [--teacher REFERENCE] [--steps 300] [--out FILE]

A student learns from labels alone for some steps, at the full rate after a warm-up: it is to be on its way,
not at rest. Then, over a few batches, the gradient of every loss that the study's rows try is taken in the
student's weights: the length of the labels' own by that of the loss's at weight 1 is the weight at which both
pull equally hard.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from understudy import __version__
from understudy.config import RunConfig, parse
from understudy.data.batches import Batch
from understudy.errors import UserError
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

Settings = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", default="typefaces-beyond", help="one of the package's, or a file")
    parser.add_argument("--teacher", help="instead of the study's own: its answers need not be stored then")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loss-pulls"))
    arguments = parser.parse_args()
    study = read_study(arguments.study)
    results = {
        "study": study.name,
        "teacher": arguments.teacher,
        "steps": arguments.steps,
        "batches": arguments.batches,
        "understudy": __version__,
        "torch": torch.__version__,
        "pulls": _measured(study, arguments),
    }
    write_json(arguments.out.with_suffix(".json"), results)
    write_text(arguments.out.with_suffix(".md"), _page(results))
    print(_page(results))


def _measured(study: StudyConfig, arguments: argparse.Namespace) -> list[Settings]:
    try:
        return measure(study, arguments.teacher, arguments.steps, arguments.batches)
    except UserError as error:
        sys.exit(f"error: {error}")


def measure(study: StudyConfig, teacher: str | None, steps: int, count: int) -> list[Settings]:
    """Every loss of a study: its pull at weight 1 by that of the labels, and the weight of an equal pull."""
    losses, workshop = _losses(study), Workshop()
    alone = _train(study, steps, workshop)
    teachers = study.base["teachers"] if teacher is None else {"main": {"reference": teacher}}
    parts = assemble(_config(study, steps, losses, teachers), workshop, Reporter())
    task = parts.task
    terms = task.train().loss_terms()
    labels, others = terms[: -len(losses)], terms[-len(losses) :]
    for module, learned in (
        (task.student, alone.student),
        (task.classifier, alone.classifier),
        *zip(labels, alone.loss_terms(), strict=True),
    ):
        if module is not None and learned is not None:
            module.load_state_dict(learned.state_dict())
    batches = list(islice(parts.batches(steps), count))
    theirs = _length(task, labels, batches)
    pulls = [_length(task, [term], batches) / theirs for term in others]
    return [
        {
            "loss": loss["name"],
            "args": loss.get("args", {}),
            "pull": pull,
            "weight": 1 / pull if pull else math.inf,
        }
        for loss, pull in zip(losses, pulls, strict=True)
    ]


def _losses(study: StudyConfig) -> list[Settings]:
    """What the study's rows choose among, each loss with each of its settings once, at weight 1."""
    tried = (
        {**one, "weight": 1.0}
        for row in study.rows
        if row.choose is not None
        for settings in row.choose.among
        for one in settings.get("losses", ())
    )
    losses = list({repr(one): one for one in tried}.values())
    if not losses:
        sys.exit(f"no row of {study.name!r} chooses among losses: name a study whose rows do")
    return losses


def _train(study: StudyConfig, steps: int, workshop: Workshop) -> Task:
    """A student after some steps from labels alone."""
    config = _config(study, steps, [], {})
    parts: Parts = assemble(config, workshop, Reporter())
    warm_up = config.schedule.warmup * steps
    optimiser = build_optimiser(parts.task, config.optim)
    rate = lambda step: min(1.0, (step + 1) / max(1.0, warm_up))  # noqa: E731
    loop = Loop(parts.task, optimiser, parts.batches, steps=steps, rate=rate, clip=config.optim.clip)
    loop.on_log = lambda step, means, speed: print(step, f"{means['loss']:.3f}", f"{speed:.0f} images/s")
    loop.run()
    return parts.task


def _config(
    study: StudyConfig, steps: int, losses: Sequence[Settings], teachers: Mapping[str, Any]
) -> RunConfig:
    value = {**study.base, "steps": steps, "seed": 0, "losses": [*losses], "teachers": {**teachers}}
    config: RunConfig = parse(RunConfig, value, where=study.name)
    return config


def _length(task: Task, terms: Sequence[Term], batches: Sequence[Batch]) -> float:
    """The median length of the gradient of some losses together in the student's weights."""
    weights = [weight for weight in task.student.parameters() if weight.requires_grad]
    lengths = []
    for batch in batches:
        task.set_step(batch.step)
        known, outputs = task.teach(batch.items), task.outputs(batch.items)
        step = Step(batch.step, outputs, known, batch.labels, task.draws, batch.counts or ())
        value = torch.stack([term.weight * term(step) for term in terms]).sum()
        slopes = torch.autograd.grad(value, weights, allow_unused=True)
        lengths.append(float(torch.nn.utils.get_total_norm([slope for slope in slopes if slope is not None])))
    return statistics.median(lengths)


def _page(results: Mapping[str, Any]) -> str:
    how = (
        "The length of a loss's gradient in the student's weights at weight 1, by that of the labels', and "
        f"the weight at which both pull equally hard: after {results['steps']} steps from labels alone, "
        f"median of {results['batches']} batches; maps into the teacher's space are not trained yet. "
        f"understudy {results['understudy']}, torch {results['torch']}."
    )
    head = ["| loss | pull at weight 1 | weight of an equal pull |", "| --- | --: | --: |"]
    rows = [f"| {_name(one)} | {one['pull']:.3g} | {one['weight']:.2g} |" for one in results["pulls"]]
    return "\n".join([f"# How hard the losses of {results['study']} pull", "", how, "", *head, *rows]) + "\n"


def _name(one: Mapping[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in one["args"].items())
    return f"{one['loss']}, {settings}" if settings else str(one["loss"])


if __name__ == "__main__":
    main()
