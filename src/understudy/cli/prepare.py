"""``understudy prepare``: an official data-set layout becomes a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app
from understudy.errors import unknown


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="the layout: omniglot or folder")],
    path: Annotated[Path, typer.Argument(help="where the data set lies")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the manifest to write (.csv or .parquet)")] = Path(
        "manifest.csv"
    ),
) -> None:
    """Write the manifest of a data set in its official layout."""
    from understudy.data.folders import manifest_from_folder
    from understudy.data.omniglot import manifest_from_omniglot

    layouts = {"folder": manifest_from_folder, "omniglot": manifest_from_omniglot}
    if name not in layouts:
        raise unknown("data-set layout", name, layouts)
    manifest = layouts[name](path)
    manifest.save(out)
    typer.echo(f"{len(manifest):,} images, {len(manifest.classes):,} classes: {out}")
