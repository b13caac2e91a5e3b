"""``understudy compare``: a study, methods × seeds, in one table."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from understudy.cli.app import app
from understudy.cli.options import with_config


@app.command()
@with_config(leave_out=("data.source", "student.backbone", "compatible", "preset", "seed"))
def compare(
    study: Annotated[str, typer.Argument(help="a YAML study, or the name of a packaged one")] = "typefaces",
    data: Annotated[
        str | None, typer.Option(help="data set, manifest or folder, in place of its own")
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(help="REFERENCE in place of the only teacher's, or NAME=REFERENCE; may be repeated"),
    ] = None,
    clean: Annotated[
        list[str] | None,
        typer.Option(help="where a teacher's vectors of clean images come from; as --teacher"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="its directory (default: runs/NAME)")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="how many seeds (default: the study's)", min=1)] = None,
    jobs: Annotated[
        int, typer.Option(help="runs trained side by side, shared out to all GPUs that can be seen", min=1)
    ] = 1,
    devices: Annotated[
        str | None, typer.Option(help="the GPUs to share them out to, such as cuda:0,cuda:1")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="print the results as JSON")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Compare methods over seeds; started again after a kill, it does not redo what is finished.

    Further options are laid over the settings that the study's rows share.
    """
    from understudy.study import changed, read_study, run_study, to_markdown
    from understudy.training.progress import Reporter

    config = changed(
        read_study(study), settings, data=data, teachers=teacher or (), clean=clean or (), seeds=seeds
    )
    directory = out or Path("runs") / config.name
    results = run_study(
        config,
        directory,
        workers=jobs,
        devices=None if devices is None else devices.split(","),
        reporter=Reporter(),
    )
    typer.echo(json_module.dumps(results) if json else to_markdown(results))
    if not json:
        typer.echo(f"written: {directory / 'results.md'}, {directory / 'results.json'}")
