"""What a teacher is asked when a table of its answers is made, and the asking: the same in any process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from understudy.data import Augmentation, Items, Manifest, Pixels, Preprocessing, Views, open_dataset
from understudy.data.decoding import decode_into
from understudy.data.store import Form, packed_pixels
from understudy.data.table import TablePlan, TableWriter
from understudy.data.table.content import content_hashes, file_states
from understudy.data.table.plan import Dtype
from understudy.errors import UserError
from understudy.heap import kept_memory
from understudy.models import Embedder
from understudy.teachers import LiveTeacher, Teacher, open_teacher
from understudy.teachers.identity import identity
from understudy.training.device import find_device

Precision = Literal["fp32", "bf16"]

_MOST_ITEMS, _MOST_LINES, _DECODED_BYTES = 2048, 8192, 128 * 2**20


@dataclass(frozen=True)
class EmbeddingJob:
    """Which model is asked about which views of which images; can be sent to another process.

    Attributes:
        model: A model, or a teacher's reference.
        data: A data set's name, a manifest, or a folder of images.
        split: Only this split of the manifest; None: every row.
        batch_size: Views at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        skip_unreadable: Leave unreadable images out.
        dtype: How numbers are stored.
        precision: At which the model computes, where it is a network that runs here.
        logits: Whether the logits are stored too.
        augmentation: What varies between views, with their finite number; None: the clean image.
        view_seed: The seed of the views.
        shard_rows: About how many vectors lie in a file; None: what suits the images' size.
    """

    model: Embedder | str | Path
    data: str | Path | Manifest
    split: str | None = None
    batch_size: int = 256
    device: str = "auto"
    skip_unreadable: bool = False
    dtype: Dtype = "float32"
    precision: Precision = "fp32"
    logits: bool = False
    augmentation: Augmentation | None = None
    view_seed: int = 0
    shard_rows: int | None = None


@dataclass
class Answers:
    """What a teacher said about some items, as `TableWriter.write` takes it.

    Attributes:
        items: Their numbers.
        vectors: (views of those that could be read, d) float32.
        logits: (the same, classes), or None.
        reasons: Why an item could not be read, by its number.
        hashes: A hash of each item's content.
        states: (items, 2) size and time of change of each item's file.
        asked: How many images × views the teacher was asked about.
    """

    items: range
    vectors: np.ndarray
    logits: np.ndarray | None
    reasons: dict[int, str]
    hashes: list[str]
    states: np.ndarray
    asked: int


@dataclass
class _Loaded:
    """Decoded images of some items, and what their files were."""

    items: range
    content: torch.Tensor
    places: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    states: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))


class Answerer:
    """Opens the model and the data of a job once, and answers about any of its items.

    Args:
        job: What is asked.

    Attributes:
        ids: The id of each item.
        rows: (n,) int64, its manifest row.
        plan: What the table is to hold.

    Raises:
        UserError: The model or the data cannot be opened, or the model cannot answer what is asked.
    """

    def __init__(self, job: EmbeddingJob, say: Callable[[str], None] | None = None) -> None:
        if job.precision not in get_args(Precision):
            raise UserError(f"there is no precision {job.precision!r}: pass fp32 or bf16")
        self.job = job
        self._device = find_device(job.device)
        self._dataset = open_dataset(job.data)
        manifest = self._dataset.manifest
        if manifest.texts is not None:
            raise UserError(f"the items of {self._dataset.name!r} are texts: only images can be embedded")
        self.rows = np.arange(len(manifest)) if job.split is None else manifest.rows(job.split)
        if not len(self.rows):
            where = "" if job.split is None else f" in the split {job.split!r}: pass another --split"
            raise UserError(f"{self._dataset.name!r} has no images{where}")
        self.ids = [manifest.ids[row] for row in self.rows.tolist()]
        # A teacher is frozen in place: whoever passed a model keeps it as it is.
        model = copy.deepcopy(job.model) if isinstance(job.model, Embedder) else str(job.model)
        self._teacher: Teacher = open_teacher(model, device=self._device)
        tell = getattr(self._teacher, "call_images", None)
        if tell is not None:
            tell(manifest.ids)
        self._told = 0  # how many of its questions were told of
        self._pre = _preprocessing(self._teacher)
        self.plan = self._planned()
        self._held = self._all_pixels(say)

    def load(self, items: range) -> _Loaded:
        """Decodes the images of some items; can be called from another thread while others are embedded."""
        rows = self.rows[items.start : items.stop]
        # Before they are decoded, so that a change in between is found later instead of lost.
        states = file_states(self._dataset, rows.tolist())
        hashes = content_hashes(self._dataset, rows.tolist())
        if self._held is not None:
            there = np.isin(rows, self._held.rows.numpy())
            content = self._held.gather(torch.from_numpy(rows[there]))
            gone = {
                items[place]: f"{str(self._dataset.manifest.path(int(rows[place])))!r} could not be packed"
                for place in np.flatnonzero(~there).tolist()
            }
        else:
            pixels = np.zeros((len(rows), self._pre.channels, *self._pre.resize), dtype=np.uint8)
            reasons = decode_into(
                pixels,
                lambda row: self._dataset.image(row, self._pre.channels),
                rows,
                mode=self._pre.mode,
                interpolation=self._pre.interpolation,
            )
            there = np.ones(len(rows), dtype=bool)
            there[list(reasons)] = False
            content = torch.from_numpy(pixels if there.all() else pixels[there])
            gone = {items[place]: reason for place, reason in reasons.items()}
        places = [items[place] for place in np.flatnonzero(there).tolist()]
        return _Loaded(items, content, places, gone, hashes, states)

    def answer(self, items: range | _Loaded, asked: Callable[[int], None] | None = None) -> Answers:
        """Asks the teacher about every view of some items; not where some are unreadable that must not be.

        Args:
            items: Their numbers, or their decoded images.
            asked: Told after each batch about how many images × views it was.
        """
        loaded = items if isinstance(items, _Loaded) else self.load(items)
        vectors: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        total = 0
        useless = loaded.reasons and not self.job.skip_unreadable
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self.job.precision == "bf16")
        with kept_memory(self._device), half:
            for batch in () if useless else self._batches(loaded):
                try:
                    outputs = self._teacher.outputs(batch)
                finally:  # a question that came to nothing is one too
                    count = self._teacher.queries - self._told
                    self._told += count
                    total += count
                    if asked is not None and count:
                        asked(count)
                vectors.append(outputs["embedding"].float().cpu().numpy())
                if self.job.logits:
                    logits.append(outputs["logits"].float().cpu().numpy())
        return Answers(
            loaded.items,
            np.concatenate(vectors) if vectors else np.empty((0, self.plan.dim or 0), np.float32),
            _joined(logits, len(self.plan.classes or ())) if self.job.logits else None,
            loaded.reasons,
            loaded.hashes,
            loaded.states,
            total,
        )

    def changed(self, writer: TableWriter, shard: int) -> str | None:
        """The first image of a shard that is another one than when the shard was written.

        Files that look untouched are not read.
        """
        known, items = writer.content(shard), writer.items(shard)
        if known is None:
            return None
        hashes, states = known
        rows = self.rows[items.start : items.stop]
        places = np.flatnonzero((file_states(self._dataset, rows.tolist()) != states).any(axis=1))
        now = content_hashes(self._dataset, rows[places].tolist())
        changed = [place for place, new in zip(places.tolist(), now, strict=True) if new != hashes[place]]
        return self.ids[items[changed[0]]] if changed else None

    def _batches(self, loaded: _Loaded) -> Iterator[Items]:
        views, augmentation = self.plan.num_views, self.job.augmentation
        lines = torch.arange(len(loaded.places) * views)
        rows = torch.from_numpy(self.rows[loaded.places]).to(torch.int64)
        for part in torch.split(lines, self.job.batch_size):
            if not len(part):
                continue
            places = part // views
            seen = None
            if augmentation is not None:
                seen = Views(augmentation, self.job.view_seed, rows[places], part % views)
            yield Items(rows[places], loaded.content[places], seen).to(self._device)

    def _planned(self) -> TablePlan:
        job, teacher = self.job, self._teacher
        classes = teacher.classes if job.logits and "logits" in teacher.supplies else None
        if job.logits and classes is None:
            raise UserError(f"the model {str(job.model)!r} has no classifier: leave --logits out")
        views = 1 if job.augmentation is None else job.augmentation.num_views or 1
        size = self._pre.channels * self._pre.resize[0] * self._pre.resize[1]
        items = max(1, min(_MOST_ITEMS, _DECODED_BYTES // size, _MOST_LINES // views))
        return TablePlan(
            teacher=_name(teacher),
            dim=teacher.dim,
            dtype=job.dtype,
            num_views=views,
            recipe=None if job.augmentation is None else job.augmentation.model_dump(mode="json"),
            view_seed=job.view_seed if job.augmentation is not None else 0,
            metadata={**self._identity(), "preprocessing": self._pre.model_dump(mode="json")},
            classes=None if classes is None else tuple(classes),
            shard_rows=job.shard_rows or items * views,
        )

    def _identity(self) -> dict[str, Any]:
        facts = {key: value for key, value in identity(self._teacher).items() if key != "preprocessing"}
        facts = facts or {"reference": str(self.job.model)}
        return facts if self.job.precision == "fp32" else {**facts, "precision": self.job.precision}

    def _all_pixels(self, say: Callable[[str], None] | None) -> Pixels | None:
        """All images, where they lie decoded already: in memory, or in a pack."""
        data, pre = self._dataset, self._pre
        if data.embedded is not None and data.shape == (pre.channels, *pre.resize):
            return data.pixels(self.rows, resize=pre.resize, channels=pre.channels)
        if data.pack is None:
            return None
        form = Form((pre.resize[0], pre.resize[1]), pre.mode, pre.channels, pre.interpolation)
        return packed_pixels(
            data.pack, data.manifest, self.rows, form, skip_unreadable=self.job.skip_unreadable, say=say
        )


def begin(answerer: Answerer, out: str | Path, group: str | None = None) -> TableWriter:
    """Begins the table of a job, or goes on with it; see `TableWriter.open`."""
    rows = None if answerer.job.augmentation is None else answerer.rows.tolist()
    return TableWriter.open(out, answerer.ids, plan=answerer.plan, rows=rows, group=group)


def keep(writer: TableWriter, shard: int, answers: Answers, *, skip_unreadable: bool) -> bool:
    """Writes what a teacher said about a shard, unless it has unreadable images that must not be left out.

    Returns:
        Whether it was written.
    """
    if answers.reasons and not skip_unreadable:
        return False
    writer.write(
        shard,
        answers.vectors,
        answers.logits,
        left_out=list(answers.reasons),
        hashes=answers.hashes,
        states=answers.states,
    )
    return True


def _name(teacher: Teacher) -> str:
    return teacher.model.config.backbone if isinstance(teacher, LiveTeacher) else teacher.name


def _preprocessing(teacher: Teacher) -> Preprocessing:
    found: Any = getattr(teacher, "preprocessing", None)
    if found is None and isinstance(teacher, LiveTeacher):
        found = teacher.model.preprocessing
    if not isinstance(found, Preprocessing):
        raise UserError(f"{teacher.name!r} does not look at images: pass a model, an ONNX file or a callable")
    return found


def _joined(parts: list[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, width), np.float32)
