"""What a finished command prints."""

from __future__ import annotations

import json

import typer

from understudy.training.directory.results import Run


def finished(run: Run, *, as_json: bool) -> None:
    """Says what a run came to, and where it is."""
    if as_json:
        typer.echo(json.dumps({"path": str(run.path), "metrics": run.metrics}))
        return
    width = max(24, *map(len, run.metrics))
    for name, value in run.metrics.items():
        typer.echo(f"{name:<{width}} {100 * value:6.2f} %")
    typer.echo(f"model: {run.path / 'model'}")
