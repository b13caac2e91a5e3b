"""``understudy distill``: a student learns from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.app import app
from understudy.cli.options import resolve, with_config
from understudy.cli.show import finished
from understudy.config import merge
from understudy.config.recipes import run_recipes


@app.command()
@with_config(leave_out=("data.source", "data.fraction", "data.queries", "student.backbone", "compatible"))
def distill(
    config: Annotated[
        Path | None,
        typer.Argument(help="a YAML configuration or a recipe (data_efficient); options go on top of it"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="data set, manifest or folder (default: typefaces)")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="timm:NAME[?weights=FILE], onnx:FILE, table:DIR, python:module:factory, a saved model, or "
            "packaged:typefaces"
        ),
    ] = None,
    student: Annotated[str | None, typer.Option(help="backbone (default: mobilenetv3_small_050)")] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(help="distillation loss, NAME or NAME=WEIGHT; may be repeated (default: default)"),
    ] = None,
    supervised: Annotated[
        list[str] | None,
        typer.Option(help="loss on labels, NAME or NAME=WEIGHT, or none; may be repeated"),
    ] = None,
    fraction: Annotated[
        float | None,
        typer.Option(
            help="share of the training images to use, chosen without a look at labels (default: 1)"
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            help="most images a teacher is asked about, once each, in place of a recipe's share "
            "(default: no limit)"
        ),
    ] = None,
    compatible: Annotated[
        bool,
        typer.Option("--compatible", help="keep a projection into the teacher's space with the model"),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="the run directory")] = Path("runs/distill"),
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Distil a teacher into a student: the one command from a folder of images to a small model."""
    from understudy.training.progress import Reporter
    from understudy.training.run import execute

    if queries is not None and fraction is None and str(config) in run_recipes():
        fraction = 1.0  # a number that was typed takes the place of a recipe's share
    asked = {"fraction": fraction, "queries": queries}
    settings = merge({"data": {key: value for key, value in asked.items() if value is not None}}, settings)
    if compatible:
        settings["compatible"] = True
    run_config = resolve(
        config,
        settings,
        data=data,
        student=student,
        supervised=supervised,
        teacher=teacher,
        losses=loss,
        distils=True,
    )
    finished(execute(run_config, out, resume=resume, reporter=Reporter()), as_json=json)
