"""``understudy import-table``: vectors that are stored elsewhere become a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from understudy.cli.app import app


@app.command("import-table")
def import_table(
    source: Annotated[
        str, typer.Argument(help=".npy matrix, .parquet or .csv file, or HuggingFace data set on disk")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the embedding table to write")] = Path("table"),
    teacher: Annotated[str | None, typer.Option(help="who made the vectors (default: the source)")] = None,
    ids: Annotated[
        str | None,
        typer.Option(help="of a matrix, the file of its ids; else their column (default: id or path)"),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="the column of vectors (default: vector, embedding, or the only one)")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="the images: all must have a vector, and changes are noticed later")
    ] = None,
    split: Annotated[str | None, typer.Option(help="only this split of the images must have vectors")] = None,
    dtype: Annotated[str, typer.Option(help="how to store numbers: float32, float16 or int8")] = "float32",
) -> None:
    """Make an embedding table of vectors that are stored elsewhere."""
    from understudy.training.progress import Reporter
    from understudy.verbs.importing import import_table as run

    table = run(
        source,
        out,
        teacher=teacher or Path(source).name,
        ids=ids,
        column=column,
        data=data,
        split=split,
        dtype=dtype,  # type: ignore[arg-type]  # checked where the table is planned
        reporter=Reporter(),
    )
    typer.echo(f"{len(table)} vectors of dimension {table.dim}: {out}")
    if table.neighbour_agreement is not None:
        kept = f"{table.neighbour_agreement:.1%} of the ten nearest neighbours"
        typer.echo(f"{table.dtype} keeps {kept}")
