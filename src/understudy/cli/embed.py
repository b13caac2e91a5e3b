"""``understudy embed``: images become a table of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.cli.app import app

if TYPE_CHECKING:
    from understudy.data import Augmentation


@app.command()
def embed(
    model: Annotated[str, typer.Argument(help="a saved model's directory, or a teacher's reference")],
    data: Annotated[str, typer.Argument(help="data set, manifest or folder")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the embedding table to write")] = Path("table"),
    *,
    split: Annotated[str | None, typer.Option(help="only this split of the manifest")] = None,
    dtype: Annotated[str, typer.Option(help="how to store numbers: float32, float16 or int8")] = "float32",
    precision: Annotated[str, typer.Option(help="at which a network computes", metavar="fp32|bf16")] = "fp32",
    logits: Annotated[bool, typer.Option("--logits", help="store a classifier's logits too")] = False,
    flip: Annotated[bool, typer.Option("--flip", help="average each image with its mirror image")] = False,
    views: Annotated[
        int | None, typer.Option(help="augmented views of each image (default: the clean image)", min=1)
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="a run, or its YAML, whose augmentation and seed of views are taken"),
    ] = None,
    view_seed: Annotated[int | None, typer.Option(help="seed of the views", min=0)] = None,
    engine: Annotated[
        str, typer.Option(help="here, or ray: actors on a Ray cluster", metavar="here|ray")
    ] = "here",
    workers: Annotated[
        int | None, typer.Option(help="actors of --engine ray (default: one for each GPU, or one)", min=1)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="images embedded at a time", min=1)] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="leave unreadable images out instead of stopping")
    ] = False,
) -> None:
    """Embed every image of a data set and store the vectors with their ids.

    Run it again after it was cut off and it goes on where it stopped; start it with torchrun to share the
    work among processes, or pass --engine ray to share it among the machines of a Ray cluster.
    """
    from understudy.errors import UserError
    from understudy.training.processes.distributed import is_writer
    from understudy.training.progress import Reporter
    from understudy.verbs import embed as run

    if views is None and (recipe is not None or view_seed is not None):
        raise UserError("--recipe and --view-seed say what varies between views: pass --views too")
    augmentation, seed = _of_run(recipe, data) if recipe is not None else (None, 0)
    table = run(
        model,
        data,
        out,
        split=split,
        batch_size=batch_size,
        device=device,
        skip_unreadable=skip_unreadable,
        dtype=dtype,  # type: ignore[arg-type]  # checked where the table is planned
        precision=precision,  # type: ignore[arg-type]  # checked where the model is opened
        logits=logits,
        flip=flip,
        views=views,
        augmentation=augmentation,
        view_seed=seed if view_seed is None else view_seed,
        engine=engine,  # type: ignore[arg-type]  # checked by the verb
        workers=workers,
        reporter=Reporter(quiet=not is_writer()),
    )
    if is_writer():
        typer.echo(f"{_shape(len(table), table.num_views, table.dim)}: {out}")
        if table.neighbour_agreement is not None:
            kept = f"{table.neighbour_agreement:.1%} of the ten nearest neighbours"
            typer.echo(f"{table.dtype} keeps {kept}")


def _shape(count: int, views: int, dim: int) -> str:
    vectors = f"{count} vectors" if views == 1 else f"{count} × {views} vectors"
    return f"{vectors} of dimension {dim}"


def _of_run(recipe: Path, data: str) -> tuple[Augmentation, int]:
    """The augmentation and the seed of the views that a run has or will have."""
    from understudy.config import RunConfig, parse, read_yaml
    from understudy.training.defaults import augmentation_for, complete

    file = recipe / "config.yaml" if recipe.is_dir() else recipe
    value = {"data": data, **read_yaml(file)}
    config = parse(RunConfig, complete(value, distils=False), where=repr(str(file)))
    seed = config.seed if config.view_seed is None else config.view_seed
    return config.augment or augmentation_for(config.data.source), seed
