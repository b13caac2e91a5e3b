"""``understudy embed``: images become a table of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app


@app.command()
def embed(
    model: Annotated[Path, typer.Argument(help="a saved model's directory")],
    data: Annotated[str, typer.Argument(help="data set, manifest or folder")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the embedding table to write")] = Path("table"),
    split: Annotated[str | None, typer.Option(help="only this split of the manifest")] = None,
    batch_size: Annotated[int, typer.Option(help="images embedded at a time", min=1)] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="leave unreadable images out instead of stopping")
    ] = False,
) -> None:
    """Embed every image of a data set and store the vectors with their ids."""
    from understudy.training.progress import Reporter
    from understudy.verbs import embed as run

    table = run(
        model,
        data,
        out,
        split=split,
        batch_size=batch_size,
        device=device,
        skip_unreadable=skip_unreadable,
        reporter=Reporter(),
    )
    typer.echo(f"{len(table)} vectors of dimension {table.dim}: {out}")
