"""Runs a study: choose on validation data, train every row with every seed, put the figures together."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from understudy.config import first_difference, read_yaml
from understudy.errors import UserError
from understudy.files import is_empty, write_json, write_text
from understudy.study.check import CHOICE, check_study
from understudy.study.config import RowConfig, StudyConfig, slug
from understudy.study.crew import Crew
from understudy.study.devices import gpus_of
from understudy.study.job import Job, ending
from understudy.study.jobs import run_jobs
from understudy.study.results import (
    gpu_share,
    metrics_of,
    results_of,
    speeds_of,
    teacher_row,
    trained_row,
)
from understudy.study.spending import Spending
from understudy.study.statistics import mean_and_deviation
from understudy.study.table import to_markdown
from understudy.training.progress import Reporter
from understudy.training.workshop import Workshop

_OF_RUNS = ("name", "base", "redraw")


def run_study(
    study: StudyConfig,
    out: str | Path,
    *,
    workers: int = 1,
    devices: Sequence[str] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Runs every row with every seed and writes ``results.json`` and ``results.md``.

    Finished runs are kept and unfinished ones go on from their last checkpoint, so a killed study is simply
    started again. Settings are chosen on the validation split alone, in runs whose seeds are not used again.
    A run that fails does not keep the others from being finished; it is named in the end. A row of which a
    run diverged has no figures: those of its other seeds alone would flatter it.

    Args:
        study: What to run.
        out: The study's directory; one that holds another study is refused. More seeds or rows, or other
            figures and tests, make no other study.
        workers: Runs trained side by side.
        devices: The GPUs they are shared out to, such as ``cuda:0``, at least one run on each; None: all that
            can be seen, where there is more than one run at a time.
        reporter: Told about the progress.

    Returns:
        The content of ``results.json``.

    Raises:
        UserError: ``out`` holds something else, a row does not fit together, or a run failed.
    """
    out = Path(out)
    reporter = reporter or Reporter()
    workshop = Workshop()
    _refuse_others(study, out)
    gpus = gpus_of([study.run_config(row, study.seed_list[0], row.first) for row in study.rows], devices)
    if not _checked(study, out):
        check_study(study, workshop)
        _refuse_others(study, out)  # again: that has taken minutes
        write_text(out / "study.yaml", _as_yaml(study))  # rows or figures may have come to it
    spending = Spending(out / "spent.json")
    trials = _trials(study, out)
    tried = [job for jobs in trials.values() for job in jobs]
    most = max(map(_unfinished, ([job.out for job in tried], [place for *_, place in _places(study, out)])))
    workers = max(1, min(most, workers if devices is None else max(workers, len(gpus))))
    with Crew(workers, gpus, named=devices is not None) as crew:

        def run(jobs: Sequence[Job]) -> None:
            run_jobs(jobs, crew=crew, workshop=workshop, reporter=reporter, spending=spending)

        run(tried)
        chosen = _choose(study, trials)
        jobs = _finals(study, out, chosen)
        run(list(jobs.values()))
    _require_one(list(jobs.values()))
    speeds = speeds_of(list(jobs.values()))
    share = gpu_share(out, spending)
    rows = [
        teacher_row(study, row, workshop, reporter)
        if row.teacher is not None
        else trained_row(
            row, [jobs[row.name, seed] for seed in study.seed_list], chosen.get(row.name), speeds, share
        )
        for row in study.rows
    ]
    results = results_of(study, rows, workshop, spending)
    write_json(out / "results.json", results)
    write_text(out / "results.md", to_markdown(results))
    return results


def _refuse_others(study: StudyConfig, out: Path) -> None:
    file = out / "study.yaml"
    if file.is_file():
        trees = [_runs(read_yaml(file)), _runs(yaml.safe_load(_as_yaml(study)))]
        common = trees[0]["rows"].keys() & trees[1]["rows"].keys()
        for tree in trees:
            tree["rows"] = {name: row for name, row in tree["rows"].items() if name in common}
        changed = first_difference(*trees)
        if changed is not None:
            raise UserError(
                f"{str(out)!r} holds a study with other {changed!r}: pass another --out, or remove it"
            )
    elif not is_empty(out):
        raise UserError(f"{str(out)!r} exists already and is not a study: pass another --out")


def _checked(study: StudyConfig, out: Path) -> bool:
    """Whether this very study was started here before: drawing up a hundred runs takes minutes."""
    file = out / "study.yaml"
    return file.is_file() and bool(read_yaml(file) == yaml.safe_load(_as_yaml(study)))


def _runs(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What of a study's settings its runs depend on."""
    rows = {row["name"]: row for row in tree["rows"]}
    return {"redraw": False, **{key: tree[key] for key in _OF_RUNS if key in tree}, "rows": rows}


def _as_yaml(study: StudyConfig) -> str:
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _trials(study: StudyConfig, out: Path) -> dict[tuple[str, int], list[Job]]:
    """The runs that try every row's candidates on the validation split, by row and candidate."""
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
    return trials


def _finals(
    study: StudyConfig, out: Path, chosen: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, int], Job]:
    """The runs of every row with every seed, in the order of `_places`."""
    return {
        (row.name, seed): Job(
            f"{row.name}, seed {seed}",
            study.run_config(row, seed, chosen.get(row.name, {}).get("settings", {})),
            place,
        )
        for row, seed, place in _places(study, out)
    }


def _places(study: StudyConfig, out: Path) -> list[tuple[RowConfig, int, Path]]:
    """Where the runs of every row with every seed lie, whole seeds first: what is cut off can be compared."""
    return [
        (row, seed, out / "runs" / slug(row.name) / f"seed-{seed}")
        for seed in study.seed_list
        for row in study.rows
        if row.teacher is None
    ]


def _require_one(jobs: Sequence[Job]) -> None:
    """Raises where every run diverged: there is nothing to put into a table."""
    found = [job.divergence() for job in jobs]
    if jobs and all(found):
        raise UserError(f"all {len(jobs)} runs diverged; {jobs[0].title}: {found[0]}")


def _unfinished(places: Iterable[Path]) -> int:
    return sum(ending(place) is None for place in places)


def _choose(study: StudyConfig, trials: Mapping[tuple[str, int], Sequence[Job]]) -> dict[str, dict[str, Any]]:
    """The candidate of each row with the best mean; one that diverged has none and is not chosen."""
    chosen: dict[str, dict[str, Any]] = {}
    for row in study.rows:
        if row.choose is None:
            continue
        tried: list[dict[str, Any]] = []
        for number, settings in enumerate(row.choose.among):
            jobs = trials[row.name, number]
            whole = all(job.summary() is not None for job in jobs)
            figures = [metrics_of(job)[row.choose.metric] for job in jobs] if whole else []
            tried.append({"settings": settings, "figure": mean_and_deviation(figures)[0] if whole else None})
        sound = [one for one in tried if one["figure"] is not None]
        if not sound:
            raise UserError(
                f"every candidate of the row {row.name!r} diverged: give it one with a lower learning rate "
                "or weight, or set optim.clip"
            )
        best = max(sound, key=operator.itemgetter("figure"))
        chosen[row.name] = {**best, "metric": row.choose.metric, "tried": tried}
    return chosen
