"""Puts a run together: images, teachers, student, losses and batches, every mistake found before training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from understudy.config import RunConfig
from understudy.data.batches import Batch, Batches
from understudy.data.samplers import BatchStream
from understudy.errors import UserError
from understudy.evaluation import Report
from understudy.models import build_embedder
from understudy.models.embedder import Embedder
from understudy.teachers import LiveTeacher, Teacher
from understudy.teachers.protocol import View
from understudy.training import distributed
from understudy.training.build_terms import build_terms, default_supervised
from understudy.training.defaults import augmentation_for
from understudy.training.device import find_device, uses_bf16
from understudy.training.progress import Reporter
from understudy.training.sampling import build_sampler
from understudy.training.task import Task
from understudy.training.workshop import Workshop


@dataclass
class Parts:
    """What a run is made of.

    Attributes:
        task: Student, teachers and losses.
        batches: Gives the batches from a step on.
        steps: Steps in the whole run.
        evaluate: Measures a model on a split.
        classes: Names of the training classes, in the order of their codes.
        final_split: The split of the final figures.
    """

    task: Task
    batches: Callable[[int], Iterator[Batch]]
    steps: int
    evaluate: Callable[[Embedder, str], Report]
    classes: tuple[str, ...]
    final_split: str

    def keep_classifier(self, student: Embedder) -> None:
        """Hands the task's classifier to a model that may become a teacher of logits itself."""
        if self.task.classifier is not None:
            student.classifier = self.task.classifier
            student.classes = self.classes


def assemble(config: RunConfig, workshop: Workshop, reporter: Reporter) -> Parts:
    """Builds everything a run needs.

    Args:
        config: What to do.
        workshop: Opens what runs share.
        reporter: Shown the progress of decoding and of the teachers' answers.

    Raises:
        UserError: Something in the configuration cannot be done with these images.
    """
    device = find_device(config.device)
    torch.manual_seed(config.seed)
    student = build_embedder(config.student).to(device)
    teachers = {name: workshop.teacher(teacher, device) for name, teacher in config.teachers.items()}
    dataset = workshop.dataset(config.data)
    readers = [
        student.preprocessing,
        *(teacher.model.preprocessing for teacher in teachers.values() if isinstance(teacher, LiveTeacher)),
    ]
    final = workshop.final_split(config)
    splits = {"train", final, *(["val"] if _validates(config) else [])}
    pixels = workshop.pixels(config.data, readers, sorted(splits), device, reporter)
    rows = np.intersect1d(dataset.manifest.rows("train"), pixels.rows.cpu().numpy())
    if not len(rows):
        raise UserError(f"{config.data.source!r} has no training images: check its `split` column")
    labels, classes = _training_labels(dataset.manifest.label_codes(), dataset.manifest.classes, rows)

    augmentation = config.augment or augmentation_for(config.data.source)
    seed = config.seed if config.view_seed is None else config.view_seed
    views = {name: _view(config, name, teacher) for name, teacher in teachers.items()}
    supervised = default_supervised(config, has_labels=bool((labels[rows] >= 0).any()))
    terms, classifier = build_terms(config, supervised, student, teachers, classes)
    wanted = {getattr(term, "teacher", None) for term in terms}
    teachers = {
        name: workshop.remembering(
            config.teachers[name],
            augmentation,
            seed,
            views[name],
            pixels,
            torch.from_numpy(rows).to(device),
            reporter,
        )
        if name in wanted and not any(hasattr(term, "maps") for term in terms)
        else teacher
        for name, teacher in teachers.items()
    }
    task = Task(
        student,
        terms,
        teachers,
        views=views,
        classifier=classifier,
        seed=config.seed,
        bf16=uses_bf16(config.precision, device),
    ).to(device)
    sampler = build_sampler(config.sampler, dataset.manifest, rows, config.seed)
    steps = config.steps or max(1, round(config.epochs * len(sampler)))

    def batches(start: int) -> Iterator[Batch]:
        stream = BatchStream(sampler, rank=distributed.rank(), world=distributed.world())
        epoch, index = divmod(start, len(sampler))
        stream.load_state_dict({"epoch": epoch, "index": index})
        return iter(Batches(pixels, labels, stream, augmentation=augmentation, seed=seed, device=device))

    def evaluate(model: Embedder, split: str) -> Report:
        return workshop.evaluate(model, config, pixels, split)

    return Parts(task, batches, steps, evaluate, classes, final)


def _training_labels(
    codes: np.ndarray, names: tuple[str, ...], rows: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers the classes that training sees from 0; every other row is unlabelled."""
    present = np.unique(codes[rows])
    present = present[present >= 0]
    table = np.full(int(codes.max()) + 2, -1, dtype=np.int64)  # the last place stands for code -1
    table[present] = np.arange(len(present))
    labels = np.full(len(codes), -1, dtype=np.int64)
    labels[rows] = table[codes[rows]]
    return labels, tuple(names[code] for code in present)


def _view(config: RunConfig, name: str, teacher: Teacher) -> View:
    return config.teachers[name].view or teacher.view


def _validates(config: RunConfig) -> bool:
    return bool(config.evaluation.every) or config.evaluation.keep == "best"
