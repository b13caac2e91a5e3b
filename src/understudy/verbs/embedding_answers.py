"""The asking: a teacher's answers about any items of a job, the same in any process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.nn.functional import normalize

from understudy.data import Items, Preprocessing, Views
from understudy.data.table import TablePlan, TableWriter
from understudy.data.table.checks import all_unit_length
from understudy.data.views import sent
from understudy.errors import UserError
from understudy.heap import kept_memory
from understudy.models import Embedder
from understudy.teachers import LimitedTeacher, LiveTeacher, Teacher, open_teacher
from understudy.teachers.identity import identity
from understudy.training.device import find_device
from understudy.training.teaching.answering import SHARD_ROWS
from understudy.verbs.embedding_images import JobImages, Loaded
from understudy.verbs.embedding_job import EmbeddingJob, Precision

_MOST_ITEMS, _MOST_LINES, _DECODED_BYTES = 2048, 8192, 128 * 2**20


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
        asked: How many questions that were: images × views, and with `EmbeddingJob.flip` twice as many.
    """

    items: range
    vectors: np.ndarray
    logits: np.ndarray | None
    reasons: dict[int, str]
    hashes: list[str]
    states: np.ndarray
    asked: int


class Answerer:
    """Opens the model and the data of a job once, and answers about any of its items.

    Args:
        job: What is asked.

    Attributes:
        images: The items.
        plan: What the table is to hold.

    Raises:
        UserError: The model or the data cannot be opened, or the model cannot answer what is asked.
    """

    def __init__(self, job: EmbeddingJob, say: Callable[[str], None] | None = None) -> None:
        if job.precision not in get_args(Precision):
            raise UserError(f"there is no precision {job.precision!r}: pass fp32 or bf16")
        self.job = job
        self._device = find_device(job.device)
        self.images = JobImages(job)
        # A teacher is frozen in place: whoever passed a model keeps it as it is.
        model = copy.deepcopy(job.model) if isinstance(job.model, Embedder) else str(job.model)
        self._teacher: Teacher = open_teacher(model, device=self._device)
        tell = getattr(self._teacher, "call_images", None)
        if tell is not None:
            tell(self.images.known)
        self._normalised: bool | None = getattr(self._teacher, "normalised", None)
        self._told = 0  # how many of its questions were told of
        self._pre = _preprocessing(self._teacher)
        self.plan = self._planned()
        self.images.open(self._pre, say)

    def answer(self, items: range | Loaded, asked: Callable[[int], None] | None = None) -> Answers:
        """Asks the teacher about every view of some items; not where some are unreadable that must not be.

        Args:
            items: Their numbers, or their decoded images.
            asked: Told after each batch about how many images × views it was.
        """
        loaded = items if isinstance(items, Loaded) else self.images.load(items)
        vectors: list[np.ndarray] = []
        logits: list[np.ndarray] = []
        total = 0
        useless = loaded.reasons and not self.job.skip_unreadable
        half = torch.autocast(self._device.type, torch.bfloat16, enabled=self.job.precision == "bf16")
        with kept_memory(self._device), half:
            for batch in () if useless else self._batches(loaded):
                try:
                    vector, scores = self._asked(batch)
                finally:  # a question that came to nothing is one too
                    count = self._teacher.queries - self._told
                    self._told += count
                    total += count
                    if asked is not None and count:
                        asked(count)
                vectors.append(vector.cpu().numpy())
                if scores is not None:
                    logits.append(scores.cpu().numpy())
        return Answers(
            loaded.items,
            np.concatenate(vectors) if vectors else np.empty((0, self.plan.dim or 0), np.float32),
            _joined(logits, len(self.plan.classes or ())) if self.job.logits else None,
            loaded.reasons,
            loaded.hashes,
            loaded.states,
            total,
        )

    def _asked(self, batch: Items) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Vectors, and logits where they are wanted; with `EmbeddingJob.flip` the means over both sides."""
        sides = [batch, batch.in_mirror()] if self.job.flip else [batch]
        found = [self._teacher.outputs(side) for side in sides]
        vectors = _mean([one["embedding"] for one in found])
        if self.job.flip:
            if self._normalised is None:  # nobody says: the first answers show it
                embeddings = [one["embedding"].float().cpu().numpy() for one in found]
                self._normalised = all(map(all_unit_length, embeddings))
            vectors = normalize(vectors, dim=1) if self._normalised else vectors
        return vectors, _mean([one["logits"] for one in found]) if self.job.logits else None

    def _batches(self, loaded: Loaded) -> Iterator[Items]:
        views, augmentation = self.plan.num_views, self.job.augmentation
        lines = torch.arange(len(loaded.places) * views)
        rows = torch.from_numpy(self.images.rows[loaded.places]).to(torch.int64)
        for part in torch.split(lines, self.job.batch_size):
            if not len(part):
                continue
            places = part // views
            first, last = int(places[0]), int(places[-1])
            # Each image is sent once, however many views of it there are.
            images = sent(loaded.content[first : last + 1], self._device)
            seen = None
            if augmentation is not None:
                seen = Views(augmentation, self.job.view_seed, rows[places], part % views)
            content = images if views == 1 else images[sent(places - first, self._device)]
            yield Items(rows[places], content, seen).to(self._device)

    def _planned(self) -> TablePlan:
        job, teacher = self.job, self._teacher
        classes = teacher.classes if job.logits and "logits" in teacher.supplies else None
        if job.logits and classes is None:
            raise UserError(f"the model {str(job.model)!r} has no classifier: leave --logits out")
        views = 1 if job.augmentation is None else job.augmentation.num_views or 1
        size = self._pre.channels * self._pre.resize[0] * self._pre.resize[1]
        # A teacher that is asked may be paid by the answer, and what is not written yet is lost by a kill.
        lines = SHARD_ROWS if isinstance(teacher, LimitedTeacher) else _MOST_LINES
        items = max(1, min(_MOST_ITEMS, _DECODED_BYTES // size, lines // views))
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
        facts |= {"precision": self.job.precision} if self.job.precision != "fp32" else {}
        return {**facts, "flip": True} if self.job.flip else facts


def begin(answerer: Answerer, out: str | Path, group: str | None = None) -> TableWriter:
    """Begins the table of a job, or goes on with it; see `TableWriter.open`."""
    rows = None if answerer.job.augmentation is None else answerer.images.rows.tolist()
    return TableWriter.open(out, answerer.images.ids, plan=answerer.plan, rows=rows, group=group)


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


def _mean(answers: Sequence[torch.Tensor]) -> torch.Tensor:
    """Their mean in float32."""
    return answers[0].float() if len(answers) == 1 else torch.stack([one.float() for one in answers]).mean(0)


def _joined(parts: list[np.ndarray], width: int) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, width), np.float32)
