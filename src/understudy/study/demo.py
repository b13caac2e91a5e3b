"""The main job on the embedded data: a teacher, students alone, students distilled, one table."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from understudy.config import RunConfig, merge, parse, read_yaml
from understudy.study.config import StudyConfig, read_study
from understudy.study.runner import run_study
from understudy.study.table import to_markdown
from understudy.training.progress import Reporter
from understudy.training.run import execute

_QUICK_ROWS = ("teacher", "student alone, all labels", "student distilled, no labels")
_QUICK = {"steps": 60, "augment": {"num_views": 1}, "checkpoint_every": 1000}


def run_demo(
    out: str | Path,
    *,
    quick: bool = False,
    retrain_teacher: bool = False,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> str:
    """Runs the demo and says what it shows.

    Args:
        out: The study's directory.
        quick: Fewer rows and steps, for tests; the figures then mean little.
        retrain_teacher: Train the teacher first instead of taking the packaged one.
        seed: The seed of every row.
        reporter: Shown the progress.

    Returns:
        The table, and a few sentences about it.

    Raises:
        UserError: ``out`` holds another study.
    """
    out = Path(out)
    reporter = reporter or Reporter()
    study = read_study("demo").replaced(seeds=(seed,))
    if quick:
        rows = tuple(row for row in study.rows if row.name in _QUICK_ROWS)
        study = study.replaced(rows=rows, base=merge(study.base, _QUICK))
    if retrain_teacher:
        teacher = execute(teacher_config(seed, quick=quick), out / "teacher", resume=True, reporter=reporter)
        reference = {"teachers": {"main": str(teacher.path / "model")}}
        study = study.replaced(base=merge(study.base, reference))
    results = run_study(study, out / "study", reporter=reporter)
    return f"{to_markdown(results)}\n{_findings(study, results, out)}"


def teacher_config(seed: int = 0, *, quick: bool = False) -> RunConfig:
    """The configuration that trained the packaged teacher of the typefaces.

    Args:
        seed: Its seed.
        quick: A few steps only.

    Example:
        >>> teacher_config().student.backbone
        'smallconv_64'
    """
    path = Path(str(files("understudy") / "recipes" / "teachers" / "typefaces.yaml"))
    value = merge(read_yaml(path), {"seed": seed, **({"steps": 60} if quick else {})})
    config: RunConfig = parse(RunConfig, value, where=path.name)
    return config


def _findings(study: StudyConfig, results: dict[str, Any], out: Path) -> str:
    if not all(row["metrics"] for row in results["rows"]):
        return "A run diverged, so there is nothing to compare here."
    figure = {row["name"]: 100 * row["metrics"]["recall@1"][0] for row in results["rows"]}
    size = {row["name"]: row["parameters"] for row in results["rows"]}
    full, none = figure["student alone, all labels"], figure["student distilled, no labels"]
    ratio = size["teacher"] / size["student alone, all labels"]
    sentences = [
        f"The student has {ratio:.0f} times fewer parameters than its teacher.",
        "Taught by the teacher's rankings alone, without one label, it finds the same character first in",
        f"{none:.1f} % of the cases; trained on every label, in {full:.1f} %; the teacher in",
        f"{figure['teacher']:.1f} %.",
    ]
    few, taught = (
        "student alone, 5 % of the classes labelled",
        "student distilled, 5 % of the classes labelled",
    )
    if taught in figure:
        sentences.append(
            f"With 5 % of the classes labelled the teacher lifts it from {figure[few]:.1f} % to "
            f"{figure[taught]:.1f} %."
        )
    sentences.append(
        f"This is one seed and {study.base['steps']} steps: `understudy compare typefaces` is the real study."
    )
    return (
        " ".join(sentences)
        + "\n\nWhat to run next:\n"
        + f"  understudy evaluate {_model(study, out)} typefaces\n"
        + "  understudy distill --data FOLDER --teacher timm:resnet50?weights=FILE --out runs/mine\n"
        + "  understudy compare typefaces\n"
    )


def _model(study: StudyConfig, out: Path) -> Path:
    return out / "study" / "runs" / "student-distilled-no-labels" / f"seed-{study.seed_list[0]}" / "model"
