"""``understudy evaluate``: how well does a model, or a table of vectors, rank?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from understudy.cli.app import app
from understudy.errors import UserError
from understudy.files import write_json

if TYPE_CHECKING:
    from understudy.search import Metric

T = TypeVar("T")

_METRICS: dict[str, Metric] = {"cosine": "cosine", "euclidean": "euclidean", "dot": "dot"}


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="a saved model's directory, an embedding table or a teacher's reference")
    ],
    data: Annotated[str, typer.Argument(help="data set, manifest or folder")],
    *,
    gallery: Annotated[
        str | None,
        typer.Option(help="another model or table that embeds the gallery (asymmetric retrieval)"),
    ] = None,
    dims: Annotated[
        str, typer.Option(help="also measure the first numbers of the embedding alone, such as 16,32,64")
    ] = "",
    space: Annotated[
        str,
        typer.Option(
            help="the space of the queries: own, teacher (of a model distilled with --compatible), or auto: "
            "the teacher's where the gallery is of its dimension"
        ),
    ] = "auto",
    protocol: Annotated[
        str,
        typer.Option(help="auto, metric_learning, query_gallery, reid, reid_multi, single_shot or revisited"),
    ] = "auto",
    split: Annotated[
        str | None, typer.Option(help="the split to measure (default: test where there is one, else all)")
    ] = None,
    splits_name: Annotated[
        str | None, typer.Option(help="an alternative split of the data set, such as detected-01 of CUHK03")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="a teacher, or a table of its vectors, to measure agreement with")
    ] = None,
    agreement: Annotated[
        bool,
        typer.Option(
            "--agreement", help="with --teacher: also how alike whole rankings are (metric_learning)"
        ),
    ] = False,
    against: Annotated[
        list[str] | None,
        typer.Option(help="another model or table to compare with by paired tests; may be repeated"),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="average each image with its mirror image")] = False,
    scales: Annotated[
        str, typer.Option(help="average over these scales of the input, such as 1,0.7071,0.5")
    ] = "1",
    student_view: Annotated[
        str,
        typer.Option(
            help="make the images worse that the model sees, not the gallery's model or the teacher: "
            "scale=0.25,blur=1:2,jpeg=20, one number or a range each"
        ),
    ] = "",
    whiten: Annotated[
        str | None, typer.Option(help="whiten the vectors: pca or learned", metavar="pca|learned")
    ] = None,
    whiten_split: Annotated[
        str, typer.Option(help="the split that the whitening is fitted on; none of it may be measured")
    ] = "train",
    whiten_dim: Annotated[
        int | None, typer.Option(help="how many whitened numbers to keep (default: all)", min=1)
    ] = None,
    ks: Annotated[
        str | None, typer.Option(help="cut-offs of Recall@K, CMC@K or mP@K (default: the protocol's own)")
    ] = None,
    map_ks: Annotated[str, typer.Option(help="cut-offs of mAP@K, such as 100")] = "",
    full: Annotated[
        bool, typer.Option("--full", help="also mAP and mINP where the protocol leaves them out")
    ] = False,
    metric: Annotated[str, typer.Option(help="cosine, euclidean or dot")] = "cosine",
    clustering: Annotated[
        bool, typer.Option("--clustering", help="also NMI, AMI and F1 of k-means (metric_learning)")
    ] = False,
    draws: Annotated[int, typer.Option(help="galleries that single_shot draws", min=1)] = 100,
    confidence: Annotated[float, typer.Option(help="of the intervals over queries; 0: no intervals")] = 0.95,
    seed: Annotated[int, typer.Option(help="of everything that is drawn", min=0)] = 0,
    strips: Annotated[int, typer.Option(help="draw retrieval strips of so many queries", min=0)] = 0,
    strips_out: Annotated[Path, typer.Option(help="the directory for the strips' pages")] = Path("strips"),
    strips_choose: Annotated[
        str, typer.Option(help="which queries: random, worst, or different (between the models compared)")
    ] = "random",
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
    from understudy.errors import unknown
    from understudy.training.processes.distributed import is_writer
    from understudy.training.progress import Reporter
    from understudy.verbs import evaluate as run
    from understudy.verbs.looking import view_of_text
    from understudy.verbs.showing import StripsOf

    if metric not in _METRICS:
        raise unknown("metric", metric, _METRICS)
    report = run(
        model,
        data,
        gallery=gallery,
        dims=_listed("--dims", dims, int),
        space=space,
        protocol=protocol,
        split=split,
        splits_name=splits_name,
        teacher=teacher,
        agreement=agreement,
        against=against or (),
        flip=flip,
        scales=_listed("--scales", scales, float),
        student_view=view_of_text(student_view),
        whiten=whiten,
        whiten_split=whiten_split,
        whiten_dim=whiten_dim,
        ks=None if ks is None else _listed("--ks", ks, int),
        map_ks=_listed("--map-ks", map_ks, int),
        full=full,
        metric=_METRICS[metric],
        clustering=clustering,
        draws=draws,
        confidence=confidence or None,
        seed=seed,
        strips=StripsOf(strips, strips_out, strips_choose) if strips else None,
        batch_size=batch_size,
        device=device,
        skip_unreadable=skip_unreadable,
        reporter=Reporter(quiet=json),
    )
    typer.echo(report.to_json() if json else report.table())
    if out is not None and is_writer():
        write_json(out, report.as_dict())


def _listed(option: str, text: str, kind: Callable[[str], T]) -> tuple[T, ...]:
    """Numbers between commas."""
    try:
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        sort, usual = ("whole numbers", "1,5,10") if kind is int else ("numbers", "1,0.7071,0.5")
        raise UserError(f"{option} {text!r} are not {sort}: write for example {usual}") from None
