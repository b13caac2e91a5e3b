"""A run on paper: models, losses and batches, every mistake found before an image is decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from understudy.config import RunConfig
from understudy.data import Manifest
from understudy.data.samplers import Sampler
from understudy.errors import UserError
from understudy.models import build_embedder
from understudy.models.embedder import Embedder
from understudy.teachers import Teacher, joined
from understudy.training.compatible import teacher_space
from understudy.training.device import find_device
from understudy.training.figures import measurable
from understudy.training.judging import judges_of
from understudy.training.measuring import final_split
from understudy.training.neighbourhoods import neighbouring, teacher_of_neighbourhoods
from understudy.training.objective.build_terms import build_terms, default_supervised
from understudy.training.objective.terms import Term
from understudy.training.processes import distributed
from understudy.training.processes.synchronised import synchronised
from understudy.training.protocols import parts_of, splits_of
from understudy.training.sampling import build_sampler
from understudy.training.teaching.asking import check_questions
from understudy.training.towers import further_names
from understudy.training.workshop import Workshop


@dataclass(frozen=True)
class Plan:
    """What a run will use.

    Attributes:
        device: Where it computes.
        manifest: The table of the images.
        rows: (n,) the training rows.
        labels: (all rows,) class numbers of the training rows from 0, -1 elsewhere.
        classes: Names of the training classes, in the order of their numbers.
        student: The model to train.
        teachers: The opened teachers.
        terms: The parts of the loss.
        classifier: The linear map that losses on logits share, or None.
        sampler: Plans the batches.
        final_split: What the final figures are measured on: ``test``, ``gallery`` or ``val``.
        figures: Names of the final figures.
        splits: All splits of the manifest that are needed.
    """

    device: torch.device
    manifest: Manifest
    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    student: Embedder
    teachers: dict[str, Teacher]
    terms: list[Term]
    classifier: nn.Linear | None
    sampler: Sampler
    final_split: str
    figures: tuple[str, ...]
    splits: tuple[str, ...]


def draw_up(config: RunConfig, workshop: Workshop, readable: np.ndarray | None = None) -> Plan:
    """Builds everything of a run that needs no pixels.

    Args:
        config: What to do.
        workshop: Opens what runs share.
        readable: The manifest rows whose images can be read; none: all.

    Raises:
        UserError: Something in the configuration cannot be done with these images.
    """
    device = find_device(config.device)
    # Opening a teacher may draw random numbers, and a study opens it once: so before the seed is set.
    opened = {name: workshop.teacher(teacher, device) for name, teacher in config.teachers.items()}
    torch.manual_seed(config.seed)
    student = build_embedder(config.student, space=teacher_space(config, opened)).to(device)
    student = synchronised(student, config, device)
    dataset = workshop.dataset(config.data)
    manifest = dataset.manifest
    if manifest.texts is not None:
        raise UserError(
            f"{config.data.source!r} holds texts, and {config.student.backbone!r} embeds images: "
            "pass a manifest with a 'path' column"
        )

    def rows_of(split: str) -> np.ndarray:
        rows = manifest.rows(split)
        return rows if readable is None else np.intersect1d(rows, readable)

    rows = rows_of("train")
    if not len(rows):
        raise UserError(f"{config.data.source!r} has no training images: check its `split` column")
    # What nobody can read a table need not have: only the second plan knows.
    certain = rows[:0] if config.data.skip_unreadable and readable is None else rows
    teachers = {name: joined(teacher, dataset, certain) for name, teacher in opened.items()}
    labels, classes = _training_labels(manifest.label_codes(), manifest.classes, rows)
    supervised = default_supervised(config, has_labels=bool(classes))
    uses_labels = bool(supervised) or config.s2sd is not None
    sampler = build_sampler(
        config.sampler, manifest, rows, config.seed, uses_labels=uses_labels, protocol=dataset.protocol
    )
    if sampler.batch_size // sampler.together < distributed.world():
        raise UserError(
            f"batches of {sampler.batch_size} images cannot be shared by {distributed.world()} processes: "
            "raise sampler.batch_size, or start fewer"
        )
    if not config.sync_bn:
        _refuse_single_images(sampler.batch_size // distributed.world() // config.accumulate, student)
    if neighbouring(sampler):
        teacher_of_neighbourhoods(config)  # refuses now what would fail after decoding
    elif config.sampler.teacher not in (None, *config.teachers):
        raise UserError(
            f"sampler.teacher {config.sampler.teacher!r} is not a teacher, and this sampler asks none: "
            "leave it out"
        )
    terms, classifier = build_terms(config, supervised, student, teachers, classes, sampler.batch_size)
    final = final_split(config, workshop)
    validates = bool(config.evaluation.every) or config.evaluation.keep == "best"
    measured = {final, "val"} if validates else {final}
    check_questions(config, manifest, measured)
    figures: dict[str, tuple[str, ...]] = {}
    splits = {"train"}
    for split in sorted(measured, key=lambda split: split != final):
        parts = parts_of(dataset, split)
        splits |= set(splits_of(parts))
        if readable is not None:
            parts = tuple(part._replace(plan=part.plan.restricted(readable)) for part in parts)
        judged = judges_of(config, workshop, device, split=split, rows=parts[0].plan.images, student=student)
        figures[split] = further_names(
            measurable(parts, split, with_teacher=judged.reference is not None),
            student,
            with_gallery=judged.gallery is not None,
        )
    return Plan(
        device=device,
        manifest=manifest,
        rows=rows,
        labels=labels,
        classes=classes,
        student=student,
        teachers=teachers,
        terms=terms,
        classifier=classifier,
        sampler=sampler,
        final_split=final,
        figures=figures[final],
        splits=tuple(sorted(splits)),
    )


def _refuse_single_images(smallest: int, student: Embedder) -> None:
    """Refuses pieces of a batch, or shares, of which the student's neck could have no statistics."""
    if smallest <= 1 and student.config.neck == "bn":
        raise UserError(
            "student.neck 'bn' normalises embeddings by the batch, and a process would see them one by one: "
            "raise sampler.batch_size, lower accumulate, start fewer processes, or leave the neck out"
        )


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
