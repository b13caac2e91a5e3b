"""``understudy evaluate``: how well does a model, or a table of vectors, rank?"""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app
from understudy.files import write_json


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="a saved model's directory, an embedding table, packaged:NAME or timm:NAME")
    ],
    data: Annotated[str, typer.Argument(help="data set, manifest or folder")],
    split: Annotated[
        str | None, typer.Option(help="the split to measure (default: test where there is one, else all)")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="a teacher, or a table of its vectors, to measure agreement with")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="also write the report as JSON here")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images embedded at a time", min=1)] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="leave unreadable images out instead of stopping")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Measure ranking (with labels) and agreement with a teacher (with none)."""
    from understudy.training.progress import Reporter
    from understudy.verbs import evaluate as run

    report = run(
        model,
        data,
        split=split,
        teacher=teacher,
        batch_size=batch_size,
        device=device,
        skip_unreadable=skip_unreadable,
        reporter=Reporter(quiet=json),
    )
    typer.echo(report.to_json() if json else report.table())
    if out is not None:
        write_json(out, json_module.loads(report.to_json()))
