"""What a run, or a teacher beside the runs of a study, is measured by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.config import RunConfig
from understudy.data import Pixels
from understudy.errors import UserError, suggest
from understudy.evaluation import Describing, Report, metric_learning
from understudy.models import count_macs, count_parameters
from understudy.models.embedder import Embedder
from understudy.models.speed import images_per_second
from understudy.teachers import LiveTeacher
from understudy.training.compatible import compatible_with
from understudy.training.degraded import student_sees
from understudy.training.figures import measurable
from understudy.training.processes import distributed
from understudy.training.processes.together import embed_together
from understudy.training.progress import Reporter
from understudy.training.teaching.asking import compares
from understudy.training.towers import further
from understudy.training.workshop import Workshop

_CPU = torch.device("cpu")


def final_split(config: RunConfig, workshop: Workshop) -> str:
    """The split of the final figures: the configured one, or test where there is one, else val."""
    if config.evaluation.split != "auto":
        return config.evaluation.split
    return "test" if len(workshop.dataset(config.data).manifest.rows("test")) else "val"


def measure(model: Embedder, config: RunConfig, pixels: Pixels, split: str, workshop: Workshop) -> Report:
    """Measures a student on a split: ranking by its labels, agreement with the first teacher.

    A student that is compatible with a teacher is also measured in that teacher's gallery, and one with
    prefixes at each of them. Several processes embed a share each, and one of them measures.
    """
    manifest = workshop.dataset(config.data).manifest
    rows = _held(pixels, manifest.rows(split))
    embeddings = embed_together(
        model,
        pixels,
        rows,
        batch_size=config.evaluation.batch_size,
        describing=Describing(sees=student_sees(config)),
    )
    reference = None
    first = next(iter(config.teachers.values()), None)
    if (
        first is not None
        and compares(config, manifest, split)
        and workshop.judges(first, pixels.device, rows.cpu().numpy())
    ):
        reference = workshop.embeddings(first, pixels, rows, config.evaluation.batch_size)
    gallery, guide = None, compatible_with(config)
    if guide is not None and reference is not None:
        gallery = workshop.embeddings(config.teachers[guide], pixels, rows, config.evaluation.batch_size)
    labels = manifest.label_codes()[rows.cpu().numpy()]

    def figures() -> Report:
        report = metric_learning(embeddings, labels, reference=reference)
        report = further(report, model, embeddings, labels, reference=reference, gallery=gallery)
        return replace(report, per_query={})

    return distributed.once(figures)


def teacher_figures(config: RunConfig, name: str, workshop: Workshop) -> tuple[str, ...]:
    """The figures of a teacher's own row in a study.

    Raises:
        UserError: There is no such teacher, it is not a model whose size could be measured, or there is
            nothing to measure.
    """
    if name not in config.teachers:
        raise UserError(f"there is no teacher named {name!r}: {suggest(name, config.teachers)}")
    if not isinstance(workshop.teacher(config.teachers[name], _CPU), LiveTeacher):
        raise UserError(f"the teacher {name!r} is not a model: only a model can have a row of its own")
    split = final_split(config, workshop)
    manifest = workshop.dataset(config.data).manifest
    return measurable(manifest, manifest.rows(split), split, with_teacher=True)


def measure_teacher(config: RunConfig, name: str, workshop: Workshop, reporter: Reporter) -> dict[str, Any]:
    """A teacher's own figures, in the form of a study's row; `teacher_figures` says what is refused."""
    teacher_figures(config, name, workshop)
    teacher = workshop.teacher(config.teachers[name], _CPU)
    assert isinstance(teacher, LiveTeacher)
    split, manifest = final_split(config, workshop), workshop.dataset(config.data).manifest
    pixels = workshop.pixels(config.data, [teacher.model.preprocessing], [split], _CPU, reporter)
    rows = _held(pixels, manifest.rows(split))
    embeddings = workshop.embeddings(config.teachers[name], pixels, rows, config.evaluation.batch_size)
    report = metric_learning(embeddings, manifest.label_codes()[rows.numpy()], reference=embeddings)
    return {
        "metrics": {metric: [value] for metric, value in report.metrics.items()},
        "parameters": count_parameters(teacher.model),
        "macs": count_macs(teacher.model),
        "images_per_second": images_per_second(teacher.model),
    }


def _held(pixels: Pixels, rows: np.ndarray) -> Tensor:
    """Those of the rows whose images could be read."""
    held = np.intersect1d(rows, pixels.rows.cpu().numpy())
    return torch.from_numpy(held).to(pixels.device)
