"""The package's own loop, timed: on labels, with a live teacher, or with a table of what one answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from _losses_table import say
from _throughput_bare import peak, reset_peak
from _throughput_setting import DIM, PER_CLASS, Images, Setting
from torch.nn.functional import normalize

from understudy.config import OptimConfig, RunConfig
from understudy.data import Augmentation, Manifest
from understudy.data.answers import Answers
from understudy.data.batches import Batch, Batches
from understudy.data.items import Items
from understudy.data.samplers import BatchStream, ClassBalanced
from understudy.data.table import write_table
from understudy.losses import MultiSimilarity, SimilarityKL
from understudy.teachers import LiveTeacher, TableTeacher, Teacher
from understudy.teachers.cached import CachedTeacher
from understudy.training.capture import why_not
from understudy.training.compiling import Compilation
from understudy.training.loop import Loop
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm, Term
from understudy.training.optim import build_optimiser
from understudy.training.processes import distributed
from understudy.training.task import Task

Stored = Mapping[str, Callable[[Items], Answers]]

LOG_EVERY: int = RunConfig.model_fields["log_every"].default
"""Steps between two lines of the log, at which the loop waits for the device: as many as in a run."""


def on_labels() -> Term:
    """The supervised part of every row."""
    return SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0)


def from_teacher() -> Term:
    """The relational part of the rows with a teacher: over the whole batch, of all processes."""
    return DistillationTerm("similarity_kl", SimilarityKL(), "embedding", "main", 1.0)


def build(
    setting: Setting, terms: Sequence[Term], teachers: Mapping[str, Teacher], *, freeze_bn: bool = False
) -> Task:
    """The task of a row, on its device."""
    student = setting.embedder(setting.student, freeze_bn=freeze_bn)
    task = Task(student, terms, teachers, bf16=setting.cuda).to(setting.device)
    if setting.cuda:
        task.to(memory_format=torch.channels_last)
    return task


def batches(
    setting: Setting, images: Images, stored: Stored | None = None, *, rank: int = 0, world: int = 1
) -> Callable[[int], Iterator[Batch]]:
    """Augmented views of four images a class; ``setting.batch`` of them for each process."""
    labels = images.labels
    sampler = ClassBalanced(
        images.pixels.rows.cpu().numpy(),
        labels,
        world * setting.batch // PER_CLASS,
        PER_CLASS,
        replacement=False,
        seed=0,
    )

    def start(_step: int) -> Iterator[Batch]:
        stream = BatchStream(sampler, rank=rank, world=world)
        augmentation, device = setting.augmentation, setting.device
        return iter(
            Batches(images.pixels, labels, stream, augmentation=augmentation, device=device, stored=stored)
        )

    return start


def train(
    setting: Setting,
    images: Images,
    task: Task,
    guess: float,
    between: Callable[[], None] = lambda: None,
    stored: Stored | None = None,
) -> tuple[list[float], float]:
    """Trains for a few rounds.

    Args:
        setting: The sizes.
        images: What to train on.
        task: The student, what it learns from, and the losses.
        guess: About how many images a second it may come to, which decides how many steps a round has.
        between: Called between two rounds, outside the time that is taken.
        stored: What looks up answers that lie on disk.

    Returns:
        Images/s of all processes in each round but the first, which warms up; and the most memory.
    """
    rank, world = distributed.rank(), distributed.world()
    steps = round(min(2000, max(3, setting.seconds * guess / (world * setting.batch))))
    log_every = min(LOG_EVERY, steps)
    steps -= steps % log_every
    found: list[float] = []
    started: list[float] = []

    def on_log(step: int, _means: dict[str, float], _rate: float) -> None:
        if step % steps:
            return
        now = time.perf_counter()  # the loop has waited for the device to give the means
        if started:
            found.append(steps * world * setting.batch / (now - started.pop()))
        between()
        started.append(time.perf_counter())

    loop = Loop(
        task,
        build_optimiser(task, OptimConfig()),
        batches(setting, images, stored, rank=rank, world=world),
        steps=(setting.rounds + 1) * steps,
        rate=lambda _: 1.0,
        compilation=Compilation(task, say) if setting.compiles else None,
        graph=why_not(setting.device, pieces=1, task=task) is None,
        log_every=log_every,
        checkpoint_every=(setting.rounds + 2) * steps,
        on_log=on_log,
    )
    reset_peak(setting)
    loop.run()
    return found, peak(setting)


def live(setting: Setting, backbone: str) -> dict[str, Teacher]:
    """A teacher that is asked about every view."""
    return {"main": LiveTeacher(setting.teacher(backbone)).to(setting.device)}


def table(setting: Setting, images: Images) -> dict[str, Teacher]:
    """Random vectors for all images, on the device, as those of a table are that finds room there."""
    rows = images.pixels.rows.to(setting.device)
    kept = CachedTeacher(LiveTeacher(setting.teacher("smallconv_8")), Augmentation(), 0, "clean")
    kept.keep(rows, {"embedding": normalize(torch.randn(len(rows), DIM, device=setting.device))})
    return {"main": kept}


def table_on_disk(images: Images, place: Path) -> dict[str, Teacher]:
    """Random vectors for all images in a table that found no room in memory."""
    names = [str(row) for row in range(len(images.labels))]
    vectors = normalize(torch.randn(len(names), DIM))
    written = write_table(place / "table", vectors, names, metadata={"teacher": "random"})
    return {"main": TableTeacher(written).join(Manifest.of_paths(".", names))}
