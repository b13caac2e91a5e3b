"""The verb that stores what a model makes of images: embed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeVar, get_args

from understudy.data import Augmentation, Manifest
from understudy.data.decoding import refuse_unreadable
from understudy.data.table import Table, TableWriter
from understudy.data.table.plan import Dtype
from understudy.errors import UserError, unknown
from understudy.models import Embedder
from understudy.training.defaults import augmentation_for
from understudy.training.processes.distributed import (
    barrier,
    broadcast_object,
    gather_objects,
    is_writer,
    once,
    rank,
    world,
)
from understudy.training.progress import Reporter
from understudy.verbs.embedding_answers import Answerer, Answers, begin, keep
from understudy.verbs.embedding_job import EmbeddingJob, Precision

Engine = Literal["here", "ray"]
Asking = Callable[
    [TableWriter, Answerer, Sequence[int], Callable[[int], None]], Generator[tuple[int, Answers], None, None]
]
S = TypeVar("S")
T = TypeVar("T")


def embed(
    model: Embedder | str | Path,
    data: str | Path | Manifest,
    out: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    skip_unreadable: bool = False,
    dtype: Dtype = "float32",
    precision: Precision = "fp32",
    logits: bool = False,
    flip: bool = False,
    views: int | None = None,
    augmentation: Augmentation | None = None,
    view_seed: int = 0,
    engine: Engine = "here",
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> Table:
    """Embeds images and stores the vectors with their ids.

    The table grows shard by shard. Called again after it was cut off, it asks only about the shards that are
    missing, with any number of processes; of a finished table it mends what is damaged.

    Args:
        model: A model, a saved model's directory, or any other teacher's reference.
        data: A data set's name, a manifest, or a folder of images.
        out: The embedding table to write, or to go on with.
        split: Only this split of the manifest; none: every row.
        batch_size: Images at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        skip_unreadable: Leave unreadable images out instead of stopping.
        dtype: How to store the numbers: ``float32``, ``float16`` or ``int8``.
        precision: At which a network computes: ``fp32``, or ``bf16``, as a run on a GPU asks its
            teacher.
        logits: Store the logits of a classifier too.
        flip: Ask about the mirror image of every view too, at twice the cost, and store the mean of both
            answers, of length 1 again where the teacher's vectors are: usual in re-identification, where it
            ranks a little better.
        views: How many augmented views of each image to ask about, the same that a run with this
            ``augmentation`` and ``view_seed`` shows its student; none: the clean image.
        augmentation: What varies between views; none: what suits the data.
        view_seed: The seed of the views.
        engine: ``here``: this process and those it was launched with; ``ray``: actors on a Ray cluster, see
            `understudy.verbs.embedding_ray`.
        workers: Actors of ``ray``; none: one for each GPU, or one.
        reporter: Shown the progress.

    Returns:
        The table.

    Raises:
        UserError: The model or the data cannot be read, ``out`` holds something else, images cannot be read
            (the others are embedded and kept), or have changed since a finished table was written.
    """
    if augmentation is not None and views is None:
        raise UserError("an augmentation without a number of views: say how many of each image (views)")
    _check_engine(engine, workers)
    recipe = None
    if views is not None:
        source = data if isinstance(data, str | Path) else ""
        recipe = (augmentation or augmentation_for(str(source))).model_copy(update={"num_views": views})
        if recipe.off:
            raise UserError("nothing varies between these views: leave the number of views out")
    job = EmbeddingJob(
        model,
        data,
        split=split,
        batch_size=batch_size,
        device=device,
        skip_unreadable=skip_unreadable,
        dtype=dtype,
        precision=precision,
        logits=logits,
        flip=flip,
        augmentation=recipe,
        view_seed=view_seed,
    )
    reporter = reporter or Reporter(quiet=True)
    planner = replace(job, device="cpu") if engine == "ray" else job  # the actors' machines have the GPUs
    answerer = Answerer(planner, say=reporter.say if is_writer() else None)
    with begin(answerer, out, _group()) as writer:
        reasons = _fill(writer, answerer, reporter, _asking(job, engine, workers))
        every = {item: reason for part in gather_objects(reasons) for item, reason in part.items()}
        if every:
            refuse_unreadable(
                dict(sorted(every.items())),
                len(answerer.images.ids),
                skip=skip_unreadable,
                say=reporter.say if is_writer() else None,
            )
        once(lambda: None if writer.finished else str(writer.finish().directory))
    barrier()
    return Table.open(out)


def _group() -> str | None:
    """What the processes of one launch have in common."""
    return None if world() == 1 else broadcast_object(secrets.token_hex(8))


def _check_engine(engine: str, workers: int | None) -> None:
    if engine not in get_args(Engine):
        raise unknown("engine", engine, get_args(Engine))
    if engine == "ray" and world() > 1:
        raise UserError("Ray starts the processes itself: leave torchrun out, or the engine ray")
    if engine != "ray" and workers is not None:
        raise UserError("workers are the actors of the engine ray: pass --engine ray too, or start torchrun")


def _asking(job: EmbeddingJob, engine: Engine, workers: int | None) -> Asking:
    """Who answers: this process, or actors on a Ray cluster."""
    if engine == "here":
        return _answered_here
    from understudy.verbs.embedding_ray import answers_from_ray

    def on_ray(
        writer: TableWriter, answerer: Answerer, todo: Sequence[int], asked: Callable[[int], None]
    ) -> Generator[tuple[int, Answers], None, None]:
        del answerer
        shards = [(shard, writer.items(shard)) for shard in todo]
        return answers_from_ray(job, shards, workers=workers, asked=asked)

    return on_ray


def _answered_here(
    writer: TableWriter, answerer: Answerer, todo: Sequence[int], asked: Callable[[int], None]
) -> Generator[tuple[int, Answers], None, None]:
    for shard, loaded in _ahead(lambda number: answerer.images.load(writer.items(number)), todo):
        yield shard, answerer.answer(loaded, asked)


def _fill(writer: TableWriter, answerer: Answerer, reporter: Reporter, asking: Asking) -> dict[int, str]:
    """Asks about this process's missing shards; says which images could not be read, and why."""
    if writer.finished:
        _refuse_changed(writer, answerer)
        return {}
    mine = range(rank(), writer.shards, world())
    missing = set(writer.pending(rank(), world()))
    todo = [shard for shard in mine if shard in missing or answerer.images.changed(writer, shard)]
    questions = answerer.plan.num_views * (1 + answerer.job.flip)  # about an image
    total = sum(len(writer.items(shard)) for shard in todo) * questions
    reporter.start("embed", total=total)
    reasons: dict[int, str] = {}
    done = 0

    def asked(count: int) -> None:
        nonlocal done
        done += count
        writer.asked(count)
        reporter.tick(done, total)

    with closing(asking(writer, answerer, todo, asked)) as answered:  # its thread ends with it
        for shard, answers in answered:
            reasons |= answers.reasons
            keep(writer, shard, answers, skip_unreadable=answerer.job.skip_unreadable)
    reporter.stop()
    return reasons


def _refuse_changed(writer: TableWriter, answerer: Answerer) -> None:
    changed = [name for shard in range(writer.shards) if (name := answerer.images.changed(writer, shard))]
    if changed:
        raise UserError(
            f"the embedding table {str(writer.directory)!r} is finished, and images have changed since "
            f"({changed[0]!r}): pass another place for the table or remove it first"
        )


def _ahead(load: Callable[[S], T], wanted: Sequence[S]) -> Iterator[tuple[S, T]]:
    """Loads the next thing while the one before it is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(load, wanted[0]) if wanted else None
        for place, one in enumerate(wanted):
            assert coming is not None
            loaded = coming.result()
            if place + 1 < len(wanted):
                coming = pool.submit(load, wanted[place + 1])
            yield one, loaded
