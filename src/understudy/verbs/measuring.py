"""The verb that looks at what was trained: evaluate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import cast as cast_to

import numpy as np

from understudy.data import Manifest
from understudy.errors import UserError
from understudy.evaluation import Embedded, Options, Report, Settings, asymmetric
from understudy.evaluation import agreement as rank_agreement
from understudy.evaluation.choosing import plan as planned
from understudy.evaluation.comparing import against as compared
from understudy.evaluation.describe import Describing
from understudy.evaluation.inputs import Vectors
from understudy.evaluation.plans import Plan
from understudy.search import Metric
from understudy.training.device import find_device
from understudy.training.processes.distributed import launched, once
from understudy.training.progress import Reporter
from understudy.verbs.cast import Cast
from understudy.verbs.looking import StudentView, looking
from understudy.verbs.provenance import provenance
from understudy.verbs.showing import Shown, StripsOf, show
from understudy.verbs.sides import Side, Whiten, pair
from understudy.verbs.sources import Images, Maker


@launched()
def evaluate(
    query: Maker,
    data: str | Path | Manifest,
    *,
    gallery: Maker | None = None,
    dims: Sequence[int] = (),
    space: str = "auto",
    protocol: str = "auto",
    split: str | None = None,
    splits_name: str | None = None,
    teacher: Maker | None = None,
    agreement: bool = False,
    against: Sequence[Maker] = (),
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    student_view: StudentView | None = None,
    whiten: str | None = None,
    whiten_split: str = "train",
    whiten_dim: int | None = None,
    ks: Sequence[int] | None = None,
    map_ks: Sequence[int] = (),
    full: bool = False,
    metric: Metric = "cosine",
    clustering: bool = False,
    draws: int = 100,
    confidence: float | None = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    strips: StripsOf | None = None,
    batch_size: int = 256,
    device: str = "auto",
    skip_unreadable: bool = False,
    reporter: Reporter | None = None,
) -> Report:
    """Measures how a model, or a table of vectors, ranks a data set.

    Args:
        query: A model, a saved model's directory, a teacher's reference, or an embedding table.
        data: A data set's name, a manifest, or a folder of images.
        gallery: Another model or table that embeds the gallery: asymmetric retrieval, with both models alone
            beside it as far as they have vectors of everything.
        dims: Also measure the first so many numbers of the embedding alone, at each of these lengths.
        space: The space of the queries: ``own``, ``teacher`` (only of a model distilled with ``compatible``),
            or ``auto``: the teacher's where the gallery is of its dimension, else its own.
        protocol: ``metric_learning``, ``query_gallery``, ``reid``, ``reid_multi``, ``single_shot``,
            ``revisited``, or ``auto``: what the data is made for (see `understudy.evaluation.choosing.plan`).
        split: For metric_learning, which split; none: ``test`` where there is one, else every row.
        splits_name: An alternative split of the data set, such as ``detected-01`` of CUHK03.
        teacher: A teacher's reference or a table of its vectors, to measure agreement with.
        agreement: Also how alike whole rankings and lists are with the teacher's: correlations and distances
            of lists (metric_learning only), see `understudy.evaluation.agreement`.
        against: Other models or tables, measured on the same queries and compared by paired tests.
        flip: Average each image's vector with its mirror image's.
        scales: Average over these scales of the input, such as ``THREE_SCALES``.
        student_view: What makes the images worse that ``query`` and ``against`` see, as in a configuration;
            the gallery's model and the teacher see them as they are.
        whiten: ``pca`` or ``learned``: whiten the vectors.
        whiten_split: The split that the whitening is fitted on; none of it may be measured.
        whiten_dim: Keep so many of the whitened numbers; none: all.
        ks: Cut-offs of Recall@K, CMC@K or mP@K; none: the protocol's own.
        map_ks: Cut-offs of mAP@K.
        full: Also mAP and mINP where the protocol leaves them out.
        metric: ``cosine``, ``euclidean`` or ``dot``.
        clustering: Also NMI, AMI and F1 of k-means (metric_learning only).
        draws: How many galleries ``single_shot`` draws.
        confidence: Of the bootstrap intervals over queries; None: no intervals.
        resamples: How many bootstrap samples.
        seed: Of everything that is drawn.
        strips: Which retrieval strips to draw, and where to.
        batch_size: Images at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        skip_unreadable: Leave unreadable images out instead of stopping.
        reporter: Shown the progress.

    Returns:
        The report: ``.metrics``, ``.intervals``, ``.per_query``, ``.table()``, ``.to_json()``.

    Raises:
        UserError: Something cannot be read, the data has not what the protocol needs, or there is nothing to
            measure.
    """
    options = _options(
        ks, map_ks=map_ks, full=full, metric=metric, confidence=confidence, resamples=resamples, seed=seed
    )
    describing = looking(flip=flip, scales=scales, student_view=student_view, seed=seed)
    whitening = _whitening(whiten, whiten_split, whiten_dim, dims)
    if strips is not None:
        strips.check(models=1 + len(against))
    place = find_device(device)
    images = Images(
        data,
        splits_name=splits_name,
        device=place,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
        reporter=reporter,
    )
    plan = planned(images.dataset, protocol, split)
    _check(
        plan,
        clustering=clustering,
        teacher=teacher is not None,
        agreement=agreement,
        strips=strips is not None,
    )
    measured = np.union1d(plan.images, plan.query)
    cast = Cast.open(
        images,
        describing,
        query=query,
        gallery=gallery,
        teacher=teacher,
        against=against,
        space=space,
        dims=dims,
    )
    if whitening is not None:
        cast.whiten, cast.fitting = whitening, whitening.rows(images, measured)
    cast.prepare(images, plan)
    plan = plan.restricted(np.setdiff1d(measured, cast.unreadable))
    reference = None if cast.guide is None else pair(cast.guide.embedded(plan))

    def measure(asking: Vectors, asked: Vectors) -> Report:
        return plan.measure(asking, asked, reference, options, clustering=clustering, draws=draws)

    def shown(name: str, side: Side, dim: int | None = None) -> Shown:
        """A model's row: its queries in the gallery that is searched, for our own with each model alone."""
        asking, asked, alone = cast.meeting(side, plan, dim)
        query, base = pair(Embedded(asking.query, asked.gallery))
        if cast.index is not None and side is cast.ours:
            return Shown(name, asymmetric(measure, asking, asked, alone=alone), query, base)
        return Shown(name, measure(query, base), query, base)

    def ranked() -> Report:
        rivals = [shown(name, side) for name, side in cast.rivals.items()]
        first = shown(cast.name if rivals else "", cast.ours)
        report = first.report
        if dims:
            report = _with_prefixes(
                report, dims, cast.ours.dim(), lambda dim: shown("", cast.ours, dim).report
            )
        theirs = reference[0] if agreement and reference is not None else None
        report = _agreeing(report, first.query, theirs, metric)
        if rivals:
            report = compared(report, {rival.name: rival.report for rival in rivals}, seed=seed)
        settings: dict[str, Any] = {
            "split": plan.split,
            "splits_name": splits_name,
            "flip": flip,
            "scales": list(scales),
            "student_view": _seen(describing),
            "space": cast.space_of(cast.ours),
            "whiten": None if whitening is None else vars(whitening) | {"images": len(cast.fitting)},
        }
        report = replace(
            report,
            name=cast.name,
            settings=report.settings | settings,
            provenance=provenance(plan, place, cast.unreadable) | {"models": cast.facts()},
        )
        if strips is not None:
            show(strips, plan, [first, *rivals], metric=metric, seed=seed)
        return report

    return once(ranked)  # the others have embedded their share


def _whitening(kind: str | None, split: str, dim: int | None, dims: Sequence[int]) -> Whiten | None:
    """The whitening that is asked for, if any."""
    if kind is None:
        if dim is not None:
            raise UserError(f"{dim} whitened numbers were asked for and no whitening: choose pca or learned")
        return None
    if dims:
        raise UserError(
            "whitening puts numbers in an order of its own: pass --whiten-dim, or --dims without --whiten"
        )
    return Whiten(kind, split, dim)


def _with_prefixes(report: Report, dims: Sequence[int], whole: int, of: Callable[[int], Report]) -> Report:
    """The report with those of the first numbers of the embeddings, and its own at their whole length."""
    return replace(report, prefixes={**{dim: of(dim) for dim in sorted({*dims} - {whole})}, whole: report})


def _seen(describing: Describing) -> dict[str, Any] | None:
    """How images are made worse before they are looked at."""
    return None if describing.sees is None else describing.sees.degradation.model_dump()


def _agreeing(report: Report, ours: Vectors, theirs: Vectors | None, metric: Metric) -> Report:
    """The report with what `evaluation.agreement` knows besides the overlap of neighbours, with a teacher."""
    if theirs is None:
        return report
    found = rank_agreement(ours, theirs, (10,), metric=metric)
    more = {name: value for name, value in found.metrics.items() if name not in report.metrics}
    return replace(
        report,
        metrics=report.metrics | more,
        counts=report.counts | {"correlated": found.counts["correlated"]},
    )


def _options(ks: Sequence[int] | None, **others: Any) -> Options:
    """The protocols' shared settings, checked before anything is embedded."""
    options: dict[str, Any] = others if ks is None else {"ks": tuple(ks), **others}
    try:
        Settings(**options)
    except ValueError as error:
        raise UserError(str(error)) from error
    return cast_to("Options", options)


def _check(plan: Plan, *, clustering: bool, teacher: bool, agreement: bool, strips: bool) -> None:
    if (strips or clustering) and plan.protocol != "revisited" and not plan.labelled:
        raise UserError(
            "no image has a label to say what is right: leave strips and clustering out, or label the data"
        )
    if clustering and plan.protocol != "metric_learning":
        raise UserError(
            f"clustering figures belong to the protocol metric_learning and this is {plan.protocol}: leave "
            "clustering out, or choose that protocol"
        )
    if teacher and plan.protocol == "single_shot":
        raise UserError(
            "agreement with a teacher is not measured over drawn galleries: leave the teacher out, or choose "
            "the protocol reid"
        )
    if agreement and (not teacher or plan.protocol != "metric_learning"):
        raise UserError(
            "agreement compares every image's ranking of all others with a teacher's: pass a teacher and the "
            "protocol metric_learning, or leave it out"
        )
