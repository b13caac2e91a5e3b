"""Runs a study: choose on validation data, train every row with every seed, put the figures together."""

from __future__ import annotations

import operator
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from understudy._version import __version__
from understudy.config import RunConfig, first_difference, read_yaml
from understudy.errors import UserError
from understudy.files import atomic_directory, write_json, write_text
from understudy.models import load
from understudy.models.speed import images_per_second
from understudy.study.check import CHOICE, check_study
from understudy.study.config import RowConfig, StudyConfig, slug
from understudy.study.jobs import Job, run_jobs
from understudy.study.statistics import mean_and_deviation, paired_test
from understudy.study.table import to_markdown
from understudy.training.measuring import final_split, measure_teacher
from understudy.training.progress import Reporter
from understudy.training.workshop import Workshop


def run_study(
    study: StudyConfig, out: str | Path, *, workers: int = 1, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Runs every row with every seed and writes ``results.json`` and ``results.md``.

    Finished runs are kept and unfinished ones go on from their last checkpoint, so a killed study is simply
    started again. Settings are chosen on the validation split alone, in runs whose seeds are not used again.

    Args:
        study: What to run.
        out: The study's directory; one that holds another study is refused.
        workers: Runs trained side by side.
        reporter: Told about the progress.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: ``out`` holds something else, or a row does not fit together.
    """
    out = Path(out)
    reporter = reporter or Reporter()
    workshop = Workshop()
    _refuse_others(study, out)
    check_study(study, workshop)
    _claim(study, out)
    chosen = _choose(study, out, workers, workshop, reporter)
    jobs = {
        (row.name, seed): Job(
            f"{row.name}, seed {seed}",
            study.run_config(row, seed, chosen.get(row.name, {}).get("settings", {})),
            out / "runs" / slug(row.name) / f"seed-{seed}",
        )
        for row in study.rows
        if row.teacher is None
        for seed in study.seed_list
    }
    run_jobs(list(jobs.values()), workers=workers, workshop=workshop, reporter=reporter)
    speeds = _speeds(list(jobs.values()))
    rows = [
        _teacher_row(study, row, workshop, reporter)
        if row.teacher is not None
        else _trained_row(
            row, [jobs[row.name, seed] for seed in study.seed_list], chosen.get(row.name), speeds
        )
        for row in study.rows
    ]
    results = _results(study, rows, workshop)
    write_json(out / "results.json", results)
    write_text(out / "results.md", to_markdown(results))
    return results


def _refuse_others(study: StudyConfig, out: Path) -> None:
    file = out / "study.yaml"
    if file.is_file():
        old, new = read_yaml(file), yaml.safe_load(_as_yaml(study))
        changed = first_difference(
            *({"redraw": False, **tree, "seeds": 0, "about": ""} for tree in (old, new))
        )
        if changed is not None:  # more seeds, or another sentence above the table, make no other study
            raise UserError(
                f"{str(out)!r} holds a study with other {changed!r}: pass another --out, or remove it"
            )
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{str(out)!r} exists already and is not a study: pass another --out")


def _claim(study: StudyConfig, out: Path) -> None:
    if not (out / "study.yaml").is_file():
        with atomic_directory(out, overwrite=True) as draft:
            (draft / "study.yaml").write_text(_as_yaml(study), encoding="utf-8")


def _as_yaml(study: StudyConfig) -> str:
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _choose(
    study: StudyConfig, out: Path, workers: int, workshop: Workshop, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """Tries every row's candidates on the validation split and takes the best mean."""
    trials: dict[tuple[str, int], list[Job]] = {}
    for row in study.rows:
        if row.choose is None:
            continue
        for number, settings in enumerate(row.choose.among):
            trials[row.name, number] = [
                Job(
                    f"choosing for {row.name}: {settings}, seed {seed}",
                    study.run_config(row, seed, settings, row.choose.overrides, CHOICE),
                    out / "choice" / slug(row.name) / f"{number}" / f"seed-{seed}",
                )
                for seed in row.choose.seeds
            ]
    run_jobs(
        [job for jobs in trials.values() for job in jobs],
        workers=workers,
        workshop=workshop,
        reporter=reporter,
    )
    chosen: dict[str, dict[str, Any]] = {}
    for row in study.rows:
        if row.choose is None:
            continue
        tried: list[dict[str, Any]] = []
        for number, settings in enumerate(row.choose.among):
            figures = [_metrics(job)[row.choose.metric] for job in trials[row.name, number]]
            tried.append({"settings": settings, "figure": mean_and_deviation(figures)[0]})
        best = max(tried, key=operator.itemgetter("figure"))
        chosen[row.name] = {**best, "metric": row.choose.metric, "tried": tried}
    return chosen


def _metrics(job: Job) -> dict[str, float]:
    summary = job.summary()
    if summary is None:
        raise UserError(f"the run in {str(job.out)!r} is not finished: start the study again")
    metrics: dict[str, float] = summary["metrics"]
    return metrics


def _speeds(jobs: Sequence[Job]) -> dict[str, float]:
    """Images per second of each network that was trained, each measured once, one after another."""
    speeds: dict[str, float] = {}
    for job in jobs:
        network = job.config.student.model_dump_json()
        if network not in speeds:
            speeds[network] = images_per_second(load(job.out / "model"))
    return speeds


def _trained_row(
    row: RowConfig, jobs: Sequence[Job], chosen: Mapping[str, Any] | None, speeds: Mapping[str, float]
) -> dict[str, Any]:
    summaries = [job.summary() or {} for job in jobs]
    figures = [_metrics(job) for job in jobs]
    return {
        "name": row.name,
        "seeds": [job.config.seed for job in jobs],
        "parameters": summaries[0]["parameters"],
        "macs": summaries[0]["macs"],
        "images_per_second": speeds[jobs[0].config.student.model_dump_json()],
        "trained_on": summaries[0]["hardware"],
        "metrics": {name: [figure[name] for figure in figures] for name in figures[0]},
        "seconds": [summary["seconds"] for summary in summaries],
        "steps": summaries[0]["steps"],
        "chosen": chosen,
    }


def _teacher_row(
    study: StudyConfig, row: RowConfig, workshop: Workshop, reporter: Reporter
) -> dict[str, Any]:
    config: RunConfig = study.run_config(row, study.seed_list[0])
    assert row.teacher is not None
    report = measure_teacher(config, row.teacher, workshop, reporter)
    return {"name": row.name, "seeds": [], "chosen": None, "seconds": [], "steps": 0, **report}


def _results(study: StudyConfig, rows: list[dict[str, Any]], workshop: Workshop) -> dict[str, Any]:
    by_name = {row["name"]: row for row in rows}
    config = study.run_config(next(row for row in study.rows if row.teacher is None), 0)
    split = final_split(config, workshop)
    tests = [
        paired_test(
            first,
            second,
            metric,
            by_name[first]["metrics"][metric],
            by_name[second]["metrics"][metric],
        ).to_dict()
        for first, second in study.tests
        for metric in study.metrics[:1]
        if len(study.seed_list) > 1
    ]
    return {
        "study": study.name,
        "about": study.about,
        "version": __version__,
        "split": split,
        "metrics": list(study.metrics),
        "device": "CPU",
        "hardware": f"{torch.get_num_threads()} {platform.machine()} threads, torch {torch.__version__}",
        "seeds": list(study.seed_list),
        "rows": rows,
        "tests": tests,
        "config": study.model_dump(mode="json"),
    }
