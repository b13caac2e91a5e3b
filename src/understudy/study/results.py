"""The content of ``results.json``: what the runs of a study wrote down, put together."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy._version import __version__
from understudy.errors import UserError
from understudy.models import build_embedder
from understudy.models.speed import images_per_second
from understudy.study.checkout import commit
from understudy.study.config import RowConfig, StudyConfig
from understudy.study.job import Job, ending
from understudy.study.spending import Spending
from understudy.study.statistics import gap_closed, paired_test
from understudy.training.measuring import final_split, measure_teacher
from understudy.training.progress import Reporter
from understudy.training.workshop import Workshop

_NOTHING = {"parameters": None, "macs": None, "hardware": None, "torch": None, "steps": 0}
"""Stands for the summary of a row of which every run diverged."""


def metrics_of(job: Job) -> dict[str, float]:
    """The figures of a finished run.

    Raises:
        UserError: It is not finished.
    """
    summary = job.summary()
    if summary is None:
        raise UserError(f"the run in {str(job.out)!r} is not finished: start the study again")
    metrics: dict[str, float] = summary["metrics"]
    return metrics


def speeds_of(jobs: Sequence[Job]) -> dict[str, float]:
    """Images per second of each network that was trained, each measured once, one after another.

    The networks are built anew: what they have learnt makes none of them faster.
    """
    speeds: dict[str, float] = {}
    for job in jobs:
        network = job.config.student.model_dump_json()
        if network not in speeds:
            bare = job.config.student.model_copy(update={"weights": None})
            speeds[network] = images_per_second(build_embedder(bare))
    return speeds


def trained_row(
    row: RowConfig,
    jobs: Sequence[Job],
    chosen: Mapping[str, Any] | None,
    speeds: Mapping[str, float],
    share: float | None,
) -> dict[str, Any]:
    """A row's runs.

    Args:
        row: The row.
        jobs: One for each seed.
        chosen: What was chosen on the validation split, and how.
        speeds: Images per second by network.
        share: The seconds of a GPU in a second of a run; None: no GPU was used.
    """
    diverged = {str(job.config.seed): how for job in jobs if (how := job.divergence()) is not None}
    figures = [metrics_of(job) for job in jobs if not diverged]
    summaries = [summary for job in jobs if (summary := job.summary()) is not None]
    first, seconds = (summaries or [_NOTHING])[0], [summary["seconds"] for summary in summaries]
    return {
        "name": row.name,
        "seeds": [job.config.seed for job in jobs],
        "diverged": diverged,
        "parameters": first["parameters"],
        "macs": first["macs"],
        "images_per_second": speeds[jobs[0].config.student.model_dump_json()],
        "trained_on": first["hardware"],
        "torch": first["torch"],
        "metrics": {name: [figure[name] for figure in figures] for name in (figures or [{}])[0]},
        "seconds": seconds,
        "gpu_seconds": None if share is None else [round(share * value, 1) for value in seconds],
        "steps": first["steps"],
        "epochs": round(first["steps"] * first["batch_size"] / first["images"], 2) if summaries else 0,
        "chosen": chosen,
    }


def teacher_row(study: StudyConfig, row: RowConfig, workshop: Workshop, reporter: Reporter) -> dict[str, Any]:
    """A teacher's own row: its figures, and its size where it is a model."""
    assert row.teacher is not None
    config = study.run_config(row, study.seed_list[0])
    report = measure_teacher(config, row.teacher, workshop, reporter)
    nothing = {"trained_on": None, "gpu_seconds": None, "steps": 0, "epochs": 0, "chosen": None}
    return {"name": row.name, "seeds": [], "seconds": [], **nothing, **report}


def gpu_share(out: Path, spending: Spending) -> float | None:
    """The seconds of a GPU in a second of a run: those of all starts, over the seconds of all runs.

    Runs that diverged, and those of rows and seeds that the study had before, count too, as what was spent on
    them does.

    Args:
        out: The study's directory.
        spending: What was spent there.
    """
    runs = [*out.glob("choice/*/*/seed-*"), *out.glob("runs/*/seed-*")]
    seconds = sum(ended.get("seconds", 0.0) for run in runs if (ended := ending(run)) is not None)
    return spending.gpu_seconds / seconds if spending.gpu_seconds and seconds else None


def results_of(
    study: StudyConfig, rows: list[dict[str, Any]], workshop: Workshop, spending: Spending
) -> dict[str, Any]:
    """The whole file; the share of the gap is written into the rows."""
    by_name = {row["name"]: row["metrics"] for row in rows}
    trained = next(row for row in study.rows if row.teacher is None)
    config = study.run_config(trained, 0, trained.first)
    tests = [
        paired_test(first, second, metric, by_name[first][metric], by_name[second][metric]).to_dict()
        for metric in study.tested
        for first, second in study.tests
        if len(study.seed_list) > 1 and by_name[first] and by_name[second]
    ]
    for row in rows:
        row["gap"] = _gaps(study, row, by_name)
    return {
        "study": study.name,
        "about": study.about,
        "version": __version__,
        "commit": commit(),
        "split": final_split(config, workshop),
        "metrics": list(study.metrics),
        "device": "CPU",
        "hardware": f"{torch.get_num_threads()} {platform.machine()} threads, torch {torch.__version__}",
        "gpu_seconds": round(spending.gpu_seconds, 1) or None,
        "seeds": list(study.seed_list),
        "rows": rows,
        "tests": tests,
        "config": study.model_dump(mode="json"),
    }


def _gaps(
    study: StudyConfig, row: Mapping[str, Any], by_name: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, list[float]]:
    """Which share of the gap a trained row closes, by figure and seed."""
    gap = study.gap
    if gap is None or not row["seeds"] or row["name"] in (gap.alone, gap.teacher):
        return {}
    sides = [row["metrics"], by_name[gap.alone], by_name[gap.teacher]]
    shares = {
        metric: gap_closed(*(side[metric] for side in sides))
        for metric in study.closed
        if all(metric in side for side in sides)
    }
    return {metric: share for metric, share in shares.items() if share is not None}
