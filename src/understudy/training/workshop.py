"""What the runs of a study share: the decoded images, the teachers, and what the teachers answered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from understudy.config import DataConfig, TeacherConfig
from understudy.data import (
    Dataset,
    Pixels,
    Preprocessing,
    image_fraction,
    label_fraction,
    open_dataset,
    split_classes,
)
from understudy.data.items import Items
from understudy.data.lines import RESIDENT_SHARE
from understudy.data.memory import available_memory
from understudy.data.table.content import refuse_changed
from understudy.teachers import TableTeacher, Teacher
from understudy.teachers.joining import joined, judges, refuse_another
from understudy.training.keeping import Shelf, digest_of, key_of
from understudy.training.progress import Reporter
from understudy.training.teaching.remembering import Remembering

_CACHE_BYTES = 2 * 1024**3  # of teachers' answers
_PIXEL_SHARE = 0.5  # of the memory that is free at the beginning: sets of images that no run uses now


class Workshop(Remembering):
    """Opens data sets and teachers once, however many runs ask for them.

    Decoded images are kept while there is room, see `understudy.training.keeping`, and so are teachers'
    answers, see `Remembering`.

    Example:
        >>> workshop = Workshop()
        >>> data = workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        >>> data is workshop.dataset(DataConfig(source="typefaces"))  # doctest: +SKIP
        True
    """

    def __init__(self) -> None:
        super().__init__(_CACHE_BYTES)
        self._kept: dict[str, Any] = {}
        self._unchanged: set[str] = set()
        self._pixels: Shelf[Pixels] = Shelf(_pixel_bytes())
        self._readings: WeakKeyDictionary[Pixels, str] = WeakKeyDictionary()

    def dataset(self, config: DataConfig) -> Dataset:
        """The data set with its validation split, and the labels that may be used."""
        key = key_of("dataset", config.model_dump(mode="json"))
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
        reading = key_of(config.source, [*resize, largest.mode, largest.interpolation, channels])
        key = key_of(reading, config.skip_unreadable, config.resident, str(device), digest_of(rows))

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

    def judge(self, config: TeacherConfig, data: DataConfig, device: torch.device) -> Teacher:
        """Who says something about clean images of a data set: the teacher, or its ``clean`` vectors.

        Raises:
            UserError: The ``clean`` vectors are another teacher's.
        """
        judge = self._known(clean(config), device)
        if config.clean is not None:
            refuse_another(self._known(config, device), judge, config.clean)
        return joined(judge, self.dataset(data), np.empty(0, dtype=np.int64))

    def judges(self, judge: Teacher, data: DataConfig, rows: np.ndarray) -> bool:
        """Whether a teacher can say something about clean images of all these rows, as they are now.

        They are looked at once: what changes while a run is under way was decoded before.

        Args:
            judge: As `judge` gives it.
            data: Which data.
            rows: (n,) the manifest rows that are measured.

        Raises:
            UserError: Some have changed since their vectors were stored.
        """
        known = judges(judge, rows)
        if known and isinstance(judge, TableTeacher):
            looked_at = key_of(judge.table.fingerprint, data.source, digest_of(rows))
            if looked_at not in self._unchanged:
                refuse_changed(judge.table, self.dataset(data), rows, judge.numbers(rows))
                self._unchanged.add(looked_at)
        return known

    def clean_embeddings(
        self, config: TeacherConfig, data: DataConfig, pixels: Pixels, rows: Tensor, batch_size: int
    ) -> Tensor:
        """A teacher's embeddings of clean images: looked up, remembered or asked for.

        Args:
            config: The teacher.
            data: Which data.
            pixels: The images.
            rows: (n,) the manifest rows.
            batch_size: Images at a time, where it is asked.
        """
        judge = self.judge(config, data, pixels.device)
        if isinstance(judge, TableTeacher):
            return judge.embed(Items(rows.to(pixels.device), None))
        return self.embeddings(clean(config), pixels, rows, batch_size)

    def _read_as(self, pixels: Pixels) -> str:
        return self._readings[pixels]

    def _source(self, source: str) -> Dataset:
        key = key_of("source", source)
        if key not in self._kept:
            self._kept[key] = open_dataset(source)
        kept: Dataset = self._kept[key]
        return kept


def clean(config: TeacherConfig) -> TeacherConfig:
    """The teacher that is asked about clean images.

    Example:
        >>> clean(TeacherConfig(reference="table:views", clean="table:clean")).reference
        'table:clean'
    """
    return config if config.clean is None else TeacherConfig(reference=config.clean)


def _pixel_bytes() -> int:
    return int(_PIXEL_SHARE * (available_memory() or 2**35))
