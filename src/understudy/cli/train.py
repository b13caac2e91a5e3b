"""``understudy train``: a model learns from labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.app import app
from understudy.cli.options import resolve, with_config
from understudy.cli.show import finished


@app.command()
@with_config(leave_out=("data.source", "student.backbone", "compatible"))
def train(
    config: Annotated[
        Path | None, typer.Argument(help="a YAML configuration; options go on top of it")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="data set, manifest or folder (default: typefaces)")
    ] = None,
    model: Annotated[str | None, typer.Option(help="backbone (default: what suits the data)")] = None,
    supervised: Annotated[
        list[str] | None, typer.Option(help="loss on labels, NAME or NAME=WEIGHT; may be repeated")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="the run directory")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="go on with the run in --out")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the summary as JSON")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Train an embedding model on labels (multi-similarity unless told otherwise)."""
    from understudy.training.progress import Reporter
    from understudy.training.run import execute

    run_config = resolve(config, settings, data=data, student=model, supervised=supervised)
    finished(execute(run_config, out, resume=resume, reporter=Reporter()), as_json=json)
