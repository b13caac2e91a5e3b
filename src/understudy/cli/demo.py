"""``understudy demo``: the main job on the embedded data, in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app


@app.command()
def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="its directory (default: runs/demo, or runs/demo-quick)"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="under 90 seconds: fewer rows and steps")] = False,
    retrain_teacher: Annotated[
        bool, typer.Option("--retrain-teacher", help="train the teacher instead of using the packaged one")
    ] = False,
    seed: Annotated[int, typer.Option(help="the seed of every row")] = 0,
) -> None:
    """From a teacher to students, on glyphs of scripts no model has seen (some 3 minutes on 2 cores)."""
    from understudy.study.demo import run_demo
    from understudy.training.progress import Reporter

    out = out or Path("runs/demo-quick" if quick else "runs/demo")
    typer.echo(run_demo(out, quick=quick, retrain_teacher=retrain_teacher, seed=seed, reporter=Reporter()))
