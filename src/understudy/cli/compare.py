"""``understudy compare``: a study, methods × seeds, in one table."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app


@app.command()
def compare(
    study: Annotated[str, typer.Argument(help="a YAML study, or the name of a packaged one")] = "typefaces",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="its directory (default: runs/NAME)")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="how many seeds (default: the study's)", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="runs trained side by side", min=1)] = 1,
    json: Annotated[bool, typer.Option("--json", help="print the results as JSON")] = False,
) -> None:
    """Compare methods over seeds; started again after a kill, it does not redo what is finished."""
    from understudy.study import read_study, run_study, to_markdown
    from understudy.training.progress import Reporter

    config = read_study(study)
    if seeds is not None:
        config = config.model_copy(update={"seeds": seeds})
    directory = out or Path("runs") / config.name
    results = run_study(config, directory, workers=jobs, reporter=Reporter())
    typer.echo(json_module.dumps(results) if json else to_markdown(results))
    if not json:
        typer.echo(f"written: {directory / 'results.md'}, {directory / 'results.json'}")
