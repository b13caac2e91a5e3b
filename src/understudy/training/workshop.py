"""What the runs of a study share: the decoded images, the teachers, and what the teachers answered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.config import DataConfig, RunConfig, TeacherConfig
from understudy.data import (
    Augmentation,
    Dataset,
    Pixels,
    Preprocessing,
    label_fraction,
    open_dataset,
    split_classes,
)
from understudy.errors import UserError, suggest
from understudy.evaluation import Report, embed_pixels, metric_learning
from understudy.models import count_macs, count_parameters
from understudy.models.embedder import Embedder
from understudy.models.speed import images_per_second
from understudy.teachers import LiveTeacher, Teacher, open_teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.protocol import View
from understudy.training.figures import measurable
from understudy.training.progress import Reporter

_CACHE_BYTES = 2 * 1024**3
_CPU = torch.device("cpu")


class Workshop:
    """Opens data sets and teachers once, however many runs ask for them.

    Example:
        >>> workshop = Workshop()
        >>> data = workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        >>> data is workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        True
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def dataset(self, config: DataConfig) -> Dataset:
        """The data set with its validation split, and the labels that may be used."""
        key = _key("dataset", config.model_dump(mode="json"))
        if key not in self._kept:
            dataset = self._source(config.source)
            manifest = dataset.manifest
            if len(manifest.rows("train")) and not len(manifest.rows("val")) and config.val_fraction:
                manifest = split_classes(manifest, config.val_fraction, config.split_seed)
            if config.label_fraction < 1.0:
                manifest = label_fraction(manifest, config.label_fraction, config.split_seed)
            self._kept[key] = replace(dataset, manifest=manifest)
        kept: Dataset = self._kept[key]
        return kept

    def pixels(
        self,
        config: DataConfig,
        readers: Iterable[Preprocessing],
        splits: Iterable[str],
        device: torch.device,
        reporter: Reporter,
    ) -> Pixels:
        """The decoded images of some splits, at a size that serves every model.

        Args:
            config: Which data.
            readers: What the models ask for.
            splits: The splits that are needed.
            device: Where the images are to be.
            reporter: Shown the progress.
        """
        dataset = self.dataset(config)
        wishes = list(readers)
        largest = max(wishes, key=lambda pre: pre.resize[0] * pre.resize[1])
        resize = config.resize or largest.resize
        channels = max(pre.channels for pre in wishes)
        rows = np.unique(np.concatenate([dataset.manifest.rows(split) for split in splits]))
        how = [*resize, largest.mode, largest.interpolation, channels, config.skip_unreadable]
        key = _key("pixels", config.source, how, str(device), rows.tobytes().hex())
        if key not in self._kept:
            reporter.start("decode", total=len(rows))
            self._kept[key] = dataset.pixels(
                rows,
                resize=resize,
                mode=largest.mode,
                interpolation=largest.interpolation,
                channels=channels,
                workers=config.workers or None,
                skip_unreadable=config.skip_unreadable,
                progress=reporter.tick,
                say=reporter.say,
            ).to(device)
            reporter.stop()
        kept: Pixels = self._kept[key]
        return kept

    def teacher(self, config: TeacherConfig, device: torch.device) -> Teacher:
        """An opened teacher."""
        key = _key("teacher", config.reference, str(device))
        if key not in self._kept:
            self._kept[key] = open_teacher(config.reference, device=device)
        kept: Teacher = self._kept[key]
        return kept

    def remembering(
        self,
        config: TeacherConfig,
        augmentation: Augmentation,
        seed: int,
        view: View,
        pixels: Pixels,
        rows: Tensor,
        reporter: Reporter,
    ) -> Teacher:
        """The teacher with its answers kept, where its views repeat and the answers fit in memory."""
        teacher = self.teacher(config, pixels.device)
        repeats = view == "clean" or (view == "same" and (augmentation.off or augmentation.num_views))
        views = 1 if view == "clean" or augmentation.off else augmentation.num_views or 1
        if not repeats or len(rows) * views * teacher.dim * 4 > _CACHE_BYTES:
            return teacher
        recipe = augmentation.model_dump(mode="json") if view == "same" else {}
        key = _key("answers", config.reference, self._name(pixels), recipe, seed, view, _digits(rows))
        if key not in self._kept:
            cached = CachedTeacher(teacher, augmentation, seed, view)
            reporter.start(f"teacher's answers ({teacher.name})", total=len(rows) * views)
            cached.fill(pixels.gather, rows, progress=reporter.tick)
            reporter.stop()
            self._kept[key] = cached
        kept: Teacher = self._kept[key]
        return kept

    def embeddings(self, config: TeacherConfig, pixels: Pixels, rows: Tensor, batch_size: int) -> Tensor:
        """The teacher's embeddings of clean images, for measuring agreement with it."""
        key = _key("embeddings", config.reference, self._name(pixels), _digits(rows))
        if key not in self._kept:
            teacher = self.teacher(config, pixels.device)
            self._kept[key] = torch.cat(
                [teacher.embed(pixels.items(part)).float() for part in torch.split(rows, batch_size)]
            )
        kept: Tensor = self._kept[key]
        return kept

    def final_split(self, config: RunConfig) -> str:
        """The split of the final figures: the configured one, or test where there is one, else val."""
        if config.evaluation.split != "auto":
            return config.evaluation.split
        return "test" if len(self.dataset(config.data).manifest.rows("test")) else "val"

    def evaluate(self, model: Embedder, config: RunConfig, pixels: Pixels, split: str) -> Report:
        """Measures a student on a split: ranking by its labels, agreement with the first teacher."""
        dataset = self.dataset(config.data)
        rows = _held(pixels, dataset.manifest.rows(split))
        embeddings = embed_pixels(model, pixels, rows, batch_size=config.evaluation.batch_size)
        reference = None
        if config.teachers:
            first = next(iter(config.teachers.values()))
            reference = self.embeddings(first, pixels, rows, config.evaluation.batch_size)
        labels = dataset.manifest.label_codes()[rows.cpu().numpy()]
        return metric_learning(embeddings, labels, reference=reference)

    def teacher_figures(self, config: RunConfig, name: str) -> tuple[str, ...]:
        """The figures of a teacher's own row in a study.

        Raises:
            UserError: There is no such teacher, it is not a model whose size could be measured, or there is
                nothing to measure.
        """
        if name not in config.teachers:
            raise UserError(f"there is no teacher named {name!r}: {suggest(name, config.teachers)}")
        if not isinstance(self.teacher(config.teachers[name], _CPU), LiveTeacher):
            raise UserError(f"the teacher {name!r} is not a model: only a model can have a row of its own")
        split = self.final_split(config)
        manifest = self.dataset(config.data).manifest
        return measurable(manifest, manifest.rows(split), split, with_teacher=True)

    def evaluate_teacher(self, config: RunConfig, name: str, reporter: Reporter) -> dict[str, Any]:
        """A teacher's own figures, in the form of a study's row; `teacher_figures` says what is refused."""
        self.teacher_figures(config, name)
        teacher = self.teacher(config.teachers[name], _CPU)
        assert isinstance(teacher, LiveTeacher)
        split = self.final_split(config)
        pixels = self.pixels(config.data, [teacher.model.preprocessing], [split], _CPU, reporter)
        rows = _held(pixels, self.dataset(config.data).manifest.rows(split))
        embeddings = self.embeddings(config.teachers[name], pixels, rows, config.evaluation.batch_size)
        labels = self.dataset(config.data).manifest.label_codes()[rows.numpy()]
        report = metric_learning(embeddings, labels, reference=embeddings)
        return {
            "metrics": {metric: [value] for metric, value in report.metrics.items()},
            "parameters": count_parameters(teacher.model),
            "macs": count_macs(teacher.model),
            "images_per_second": images_per_second(teacher.model),
        }

    def _name(self, pixels: Pixels) -> int:
        """Tells images apart that may have the same row numbers: of another data set, or another size."""
        self._kept[_key("images", id(pixels))] = pixels  # kept, so that its id stays its own
        return id(pixels)

    def _source(self, source: str) -> Dataset:
        key = _key("source", source)
        if key not in self._kept:
            self._kept[key] = open_dataset(source)
        kept: Dataset = self._kept[key]
        return kept


def _held(pixels: Pixels, rows: np.ndarray) -> Tensor:
    """Those of the rows whose images could be read."""
    held = np.intersect1d(rows, pixels.rows.cpu().numpy())
    return torch.from_numpy(held).to(pixels.device)


def _digits(rows: Tensor) -> str:
    return rows.cpu().numpy().tobytes().hex()


def _key(*parts: object) -> str:
    return json.dumps(parts, sort_keys=True)
