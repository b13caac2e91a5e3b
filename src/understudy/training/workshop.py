"""What the runs of a study share: the decoded images, the teachers, and what the teachers answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from understudy.config import DataConfig, TeacherConfig
from understudy.data import (
    Augmentation,
    Dataset,
    Pixels,
    Preprocessing,
    image_fraction,
    label_fraction,
    open_dataset,
    split_classes,
)
from understudy.data.lines import RESIDENT_SHARE
from understudy.data.memory import available_memory
from understudy.teachers import Teacher, open_teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.protocol import View
from understudy.training.keeping import Shelf
from understudy.training.progress import Reporter
from understudy.training.together import embed_together

_CACHE_BYTES = 2 * 1024**3
_PIXEL_SHARE = 0.5  # of the memory that is free at the beginning: sets of images that no run uses now


class Workshop:
    """Opens data sets and teachers once, however many runs ask for them.

    Decoded images and teachers' answers are kept while there is room, see `understudy.training.keeping`.

    Example:
        >>> workshop = Workshop()
        >>> data = workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        >>> data is workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        True
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}
        self._pixels: Shelf[Pixels] = Shelf(_pixel_bytes())
        self._answers: Shelf[Any] = Shelf(_CACHE_BYTES)
        self._readings: WeakKeyDictionary[Pixels, str] = WeakKeyDictionary()

    def dataset(self, config: DataConfig) -> Dataset:
        """The data set with its validation split, and the labels that may be used."""
        key = _key("dataset", config.model_dump(mode="json"))
        if key not in self._kept:
            dataset = self._source(config.source)
            manifest = dataset.manifest
            chooser = config.split_seed if config.fraction_seed is None else config.fraction_seed
            if config.queries is not None and not any(manifest.labels[r] for r in manifest.rows("train")):
                # Only a teacher can judge unlabelled validation images: they count among those it is asked.
                manifest = image_fraction(manifest, 1.0, chooser, most=config.queries)
            if len(manifest.rows("train")) and not len(manifest.rows("val")) and config.val_fraction:
                manifest = split_classes(manifest, config.val_fraction, config.split_seed)
            if config.label_fraction < 1.0:
                manifest = label_fraction(manifest, config.label_fraction, config.split_seed)
            manifest = image_fraction(manifest, config.fraction, chooser, most=config.queries)
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
        reading = _key(config.source, [*resize, largest.mode, largest.interpolation, channels])
        key = _key(reading, config.skip_unreadable, config.resident, str(device), _digest(rows))

        def decode() -> Pixels:
            reporter.start("decode", total=len(rows))
            pixels = dataset.pixels(
                rows,
                resize=resize,
                mode=largest.mode,
                interpolation=largest.interpolation,
                channels=channels,
                workers=config.workers or None,
                skip_unreadable=config.skip_unreadable,
                progress=reporter.tick,
                say=reporter.say,
            ).to(device, config.resident)
            reporter.stop()
            if pixels.streamed and config.resident == "auto":
                reporter.say(
                    f"{len(rows):,} images take more than {RESIDENT_SHARE:.0%} of the memory that is free on "
                    f"{str(device)!r}: they are streamed from the memory of the host"
                )
            return pixels

        pixels = self._pixels.get(key, len(rows) * channels * resize[0] * resize[1], decode)
        self._readings[pixels] = reading
        return pixels

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
        size = len(rows) * views * _answer_bytes(teacher)
        if not repeats or size > self._answers.room:
            return teacher
        recipe = augmentation.model_dump(mode="json") if view == "same" else {}

        def ask() -> CachedTeacher:
            cached = CachedTeacher(teacher, augmentation, seed, view)
            reporter.start(f"teacher's answers ({teacher.name})", total=len(rows) * views)
            cached.fill(pixels.gather, rows, progress=reporter.tick)
            reporter.stop()
            return cached

        key = _key("answers", config.reference, self._seen(pixels, rows), recipe, seed, view)
        answers: CachedTeacher = self._answers.get(key, size, ask)
        return answers

    def embeddings(self, config: TeacherConfig, pixels: Pixels, rows: Tensor, batch_size: int) -> Tensor:
        """The teacher's embeddings of clean images, for measuring agreement with it."""
        teacher = self.teacher(config, pixels.device)
        key = _key("embeddings", config.reference, self._seen(pixels, rows))
        embeddings: Tensor = self._answers.get(
            key,
            len(rows) * teacher.dim * 4,
            lambda: embed_together(teacher, pixels, rows, batch_size=batch_size),
        )
        return embeddings

    def _seen(self, pixels: Pixels, rows: Tensor) -> list[str]:
        """What a teacher is shown: which images at which size, whatever others are held beside them."""
        return [self._readings[pixels], str(pixels.device), _digest(rows.cpu().numpy())]

    def _source(self, source: str) -> Dataset:
        key = _key("source", source)
        if key not in self._kept:
            self._kept[key] = open_dataset(source)
        kept: Dataset = self._kept[key]
        return kept


def _pixel_bytes() -> int:
    return int(_PIXEL_SHARE * (available_memory() or 2**35))


def _answer_bytes(teacher: Teacher) -> int:
    """What the answers for one view take: an embedding and, of a classifier, its logits."""
    classes = len(teacher.classes or ()) if "logits" in teacher.supplies else 0
    return 4 * (teacher.dim + classes)


def _digest(rows: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(rows, dtype=np.int64).data, digest_size=16).hexdigest()


def _key(*parts: object) -> str:
    return json.dumps(parts, sort_keys=True)
