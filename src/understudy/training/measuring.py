"""What a run, or a teacher beside the runs of a study, is measured by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from understudy.config import RunConfig, TeacherConfig
from understudy.data import Pixels
from understudy.data.items import Items
from understudy.errors import UserError, suggest
from understudy.evaluation import Describing, Report
from understudy.evaluation.rows import Vectors
from understudy.models import count_macs, count_parameters
from understudy.models.embedder import Embedder
from understudy.models.speed import images_per_second
from understudy.teachers import LiveTeacher, TableTeacher
from understudy.training.degraded import student_sees
from understudy.training.device import find_device
from understudy.training.figures import measurable
from understudy.training.judging import judges_of
from understudy.training.processes import distributed
from understudy.training.processes.together import embed_together
from understudy.training.progress import Reporter
from understudy.training.protocols import Part, default_split, parts_of, report_of, splits_of
from understudy.training.towers import further
from understudy.training.workshop import Workshop

_CPU = torch.device("cpu")


def final_split(config: RunConfig, workshop: Workshop) -> str:
    """What the final figures are measured on: the configured split, or what the data is made for."""
    if config.evaluation.split != "auto":
        return config.evaluation.split
    return default_split(workshop.dataset(config.data).manifest)


def measure(model: Embedder, config: RunConfig, pixels: Pixels, split: str, workshop: Workshop) -> Report:
    """Measures a student on a split: ranking by its labels, agreement with the first teacher.

    A student that is compatible with a teacher, or of its dimension, is also measured in that teacher's
    gallery, and one with prefixes at each of them. Several processes embed a share each, and one of them
    measures.
    """
    parts = _readable(parts_of(workshop.dataset(config.data), split), pixels)
    needed = _rows(parts)
    embeddings = embed_together(
        model,
        pixels,
        needed,
        batch_size=config.evaluation.batch_size,
        describing=Describing(sees=student_sees(config)),
    )
    vectors = Vectors(needed, embeddings)
    asked = parts[0].plan.images
    judged = judges_of(config, workshop, pixels.device, split=split, rows=asked, student=model)

    def theirs(name: str | None) -> Vectors | None:
        if name is None:
            return None
        teacher, rows = config.teachers[name], torch.from_numpy(asked)
        size = config.evaluation.batch_size
        return Vectors(asked, workshop.clean_embeddings(teacher, config.data, pixels, rows, size))

    reference = theirs(judged.reference)
    gallery = reference if judged.gallery == judged.reference else theirs(judged.gallery)

    def figures() -> Report:
        report = report_of(parts, vectors, reference)
        return further(report, model, parts[0], vectors, reference=reference, gallery=gallery)

    return distributed.once(figures)


def teacher_figures(config: RunConfig, name: str, workshop: Workshop) -> tuple[str, ...]:
    """The figures of a teacher's own row in a study.

    Raises:
        UserError: There is no such teacher, it says nothing of the images that are measured, or there is
            nothing to measure.
    """
    if name not in config.teachers:
        raise UserError(f"there is no teacher named {name!r}: {suggest(name, config.teachers)}")
    split = final_split(config, workshop)
    known = _known(config, name, workshop, parts_of(workshop.dataset(config.data), split))
    return tuple(name for names in measurable(known, split, with_teacher=True) for name in names)


def measure_teacher(config: RunConfig, name: str, workshop: Workshop, reporter: Reporter) -> dict[str, Any]:
    """A teacher's own row of a study: its figures, and its size where it is a model.

    Its vectors come from where students are measured beside it: its ``clean`` table, or itself on the study's
    device.

    Args:
        config: The study's configuration.
        name: The teacher.
        workshop: Opens it.
        reporter: Shown the progress.

    Raises:
        UserError: As `teacher_figures`.
    """
    teacher_figures(config, name, workshop)
    teacher, device = config.teachers[name], find_device(config.device)
    dataset, split = workshop.dataset(config.data), final_split(config, workshop)
    parts = _known(config, name, workshop, parts_of(dataset, split))
    judge = workshop.judge(teacher, config.data, device)
    if isinstance(judge, TableTeacher):
        rows = torch.from_numpy(_rows(parts)).to(device)
        embeddings = judge.embed(Items(rows, None))
    else:
        reader: Any = getattr(judge, "preprocessing", None)  # it has one: `_known` has seen to it
        pixels = workshop.pixels(config.data, [reader], splits_of(parts), device, reporter)
        parts = _readable(parts, pixels)
        rows = torch.from_numpy(_rows(parts)).to(device)
        size = config.evaluation.batch_size
        embeddings = workshop.clean_embeddings(teacher, config.data, pixels, rows, size)
    vectors = Vectors(rows.cpu().numpy(), embeddings)
    report = report_of(parts, vectors, vectors)
    return {"metrics": {name: [value] for name, value in report.metrics.items()}, **_size(teacher, workshop)}


def _size(config: TeacherConfig, workshop: Workshop) -> dict[str, Any]:
    """What a teacher costs, measured on the CPU; unknown of one that is no model."""
    teacher = workshop.teacher(config, _CPU)
    if not isinstance(teacher, LiveTeacher):
        return {"parameters": None, "macs": None, "images_per_second": None}
    return {
        "parameters": count_parameters(teacher.model),
        "macs": count_macs(teacher.model),
        "images_per_second": images_per_second(teacher.model),
    }


def _known(config: RunConfig, name: str, workshop: Workshop, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Those of the protocols whose images a teacher can say something about.

    Raises:
        UserError: It cannot even of the first, or embeds no images.
    """
    judge = workshop.judge(config.teachers[name], config.data, find_device(config.device))
    if not isinstance(judge, TableTeacher) and getattr(judge, "preprocessing", None) is None:
        raise UserError(
            f"the teacher {name!r} embeds no images: set teachers.{name}.clean to a table of its vectors"
        )
    known = tuple(part for part in parts if workshop.judges(judge, config.data, part.plan.images))
    if parts[0] not in known:
        raise UserError(
            f"the table of the teacher {name!r} holds no clean images of all that are measured: set "
            f"teachers.{name}.clean to a table that does, written by `understudy embed` without --views"
        )
    return known


def _readable(parts: tuple[Part, ...], pixels: Pixels) -> tuple[Part, ...]:
    """The same without images that could not be read."""
    held = pixels.rows.cpu().numpy()
    return tuple(part._replace(plan=part.plan.restricted(held)) for part in parts)


def _rows(parts: tuple[Part, ...]) -> np.ndarray:
    """The rows that any of the protocols looks at, ascending."""
    rows: np.ndarray = np.unique(np.concatenate([part.plan.images for part in parts]))
    return rows
