"""Teachers opened once, joined to the images, and not asked twice."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.config import TeacherConfig
from understudy.data import Augmentation, Pixels
from understudy.data.items import Items
from understudy.data.table import Table
from understudy.errors import UserError
from understudy.teachers import LimitedTeacher, TableTeacher, Teacher, open_teacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.identity import identity
from understudy.teachers.joining import check_view
from understudy.teachers.protocol import View
from understudy.training.keeping import Shelf, digest_of, key_of
from understudy.training.processes import distributed
from understudy.training.processes.together import embed_together
from understudy.training.progress import Reporter
from understudy.training.teaching.answering import afforded, ask_all, ask_into_table, read_into_memory
from understudy.training.teaching.scope import Scope

_PAID = ("python:", "onnx:")
_SHARE = 0.2  # of a GPU's free memory, for answers


class Remembering:
    """Opens teachers and keeps their answers: in memory while there is room, or in tables on disk.

    Args:
        room: Bytes of all answers that are kept in memory; more where a GPU has it, see `room_on`.
    """

    def __init__(self, room: int) -> None:
        self._teachers: dict[str, Teacher] = {}
        self._answers: Shelf[Any] = Shelf(room)
        self._clean: dict[str, list[tuple[str, weakref.ref[CachedTeacher]]]] = {}
        self._tables: dict[str, Path] = {}
        self._scope: Scope | None = None

    def teacher(self, config: TeacherConfig, device: torch.device) -> Teacher:
        """An opened teacher."""
        key = key_of(config.reference, config.budget, config.rate, config.retries, str(device))
        if key not in self._teachers:
            several = distributed.world()
            self._teachers[key] = open_teacher(
                config.reference,
                device=device,
                budget=config.budget,
                rate=None if config.rate is None else config.rate / several,
                retries=config.retries,
            )
        return self._teachers[key]

    def begin(self, scope: Scope) -> None:
        """Says for which run is asked from now on."""
        self._scope = scope

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
        """The teacher with its answers kept, where its views repeat and the answers fit.

        Each image and view is asked about once, before the first step. Answers of functions and ONNX files,
        and those of a teacher with ``answers``, are written to a table that a later run goes on with.

        Raises:
            UserError: A table has not the views that are wanted; a budget does not reach.
        """
        teacher = self._known(config, pixels.device)
        if isinstance(teacher, TableTeacher):
            check_view(teacher, view, augmentation)
        if not (view == "clean" or augmentation.off or (view == "same" and augmentation.num_views)):
            self._say_that_views_do_not_repeat(config, teacher, view, reporter)
            return teacher
        return self._keeping(CachedTeacher(teacher, augmentation, seed, view), config, pixels, rows, reporter)

    def embeddings(self, config: TeacherConfig, pixels: Pixels, rows: Tensor, batch_size: int) -> Tensor:
        """The teacher's embeddings of clean images; answers that are kept are not asked for again."""
        teacher = self._known(config, pixels.device)
        rows = rows.to(pixels.device)
        items = Items(rows, None)
        if isinstance(teacher, TableTeacher):
            return teacher.embed(items)
        for of, kept in self._clean.get(self._reading(config, pixels), []):
            answers = kept()
            if answers is not None and answers.holds(rows):
                self._account(config, of, answers.cost)
                return answers.embed(items)
        if self._on_disk(config):
            clean = CachedTeacher(teacher, Augmentation(), 0, "clean")
            quiet = Reporter(quiet=True)
            return self._keeping(clean, config, pixels, rows, quiet, beside=True).embed(items)

        def ask() -> Tensor:
            with afforded(teacher, len(rows)):
                return embed_together(teacher, pixels, rows, batch_size=batch_size)

        key, before = key_of("embeddings", config.reference, self._seen(pixels, rows)), teacher.queries
        embeddings: Tensor = self._answers.get(key, len(rows) * teacher.dim * 4, ask)
        self._account(config, key, len(rows) if teacher.queries == before else 0)
        return embeddings

    def _keeping(
        self,
        cached: CachedTeacher,
        config: TeacherConfig,
        pixels: Pixels,
        rows: Tensor,
        reporter: Reporter,
        *,
        beside: bool = False,
    ) -> Teacher:
        teacher, on_disk, count = cached.teacher, self._on_disk(config), len(rows) * cached.num_views
        recipe = {} if cached.view == "clean" else cached.augmentation.model_dump(mode="json")
        seed = 0 if cached.view == "clean" else cached.seed
        key = key_of("answers", config.reference, self._seen(pixels, rows), recipe, seed)
        size, before = count * _answer_bytes(teacher), teacher.queries
        self._answers.room = max(self._answers.room, distributed.once(lambda: room_on(pixels.device)))
        fits = size <= self._answers.room
        if not fits and isinstance(teacher, TableTeacher):
            self._account(config, key, count)
        if not fits and not on_disk:
            return teacher

        def ask() -> CachedTeacher:
            if isinstance(teacher, TableTeacher):
                numbers = teacher.numbers(rows.cpu().numpy())
                read_into_memory(cached, teacher.table, rows, numbers.tolist())
                return cached
            reporter.start(f"teacher's answers ({teacher.name})", total=count)
            if on_disk:
                table = self._table(config, key, cached, pixels, rows, reporter, beside=beside)
                read_into_memory(cached, table, rows, range(len(rows)))
                cached.cost = table.queries
            else:
                ask_all(cached, pixels, rows, reporter.tick)
            reporter.stop()
            return cached

        if not fits:
            table = self._table(config, key, cached, pixels, rows, reporter, beside=beside)
            self._account(config, key, table.queries, paid=teacher.queries - before)
            return TableTeacher(table).join(self._run().dataset.manifest)
        answers: CachedTeacher = self._answers.get(key, size, ask)
        asked = teacher.queries - before
        counted = asked and not on_disk  # by the teacher itself
        self._account(config, key, 0 if counted else answers.cost, paid=0 if counted else asked)
        if answers is cached and cached.view == "clean":
            self._clean.setdefault(self._reading(config, pixels), []).append((key, weakref.ref(cached)))
        return answers

    def _table(
        self,
        config: TeacherConfig,
        key: str,
        cached: CachedTeacher,
        pixels: Pixels,
        rows: Tensor,
        reporter: Reporter,
        *,
        beside: bool,
    ) -> Table:
        """The table of a teacher's answers, finished if it was not."""
        run = self._run()
        run.claim()
        if key not in self._tables:
            name = run.names[key_of(config.model_dump(mode="json"))]
            place = config.answers or (run.directory or Path()) / name
            digest = digest_of(rows.cpu().numpy())[:8]
            self._tables[key] = place.with_name(f"{place.name}-{digest}") if beside else place
        ids = [run.dataset.manifest.ids[row] for row in rows.tolist()]
        facts = {"reference": config.reference, **identity(cached.teacher)}
        return ask_into_table(cached, pixels, rows, self._tables[key], ids, facts, reporter.tick)

    def _known(self, config: TeacherConfig, device: torch.device) -> Teacher:
        name = None if self._scope is None else self._scope.names.get(key_of(config.model_dump(mode="json")))
        return self.teacher(config, device) if name is None else self._run().known[name]

    def _run(self) -> Scope:
        assert self._scope is not None
        return self._scope

    def _on_disk(self, config: TeacherConfig) -> bool:
        if self._scope is None or config.reference.startswith("table:"):
            return False
        paid = config.reference.startswith(_PAID) and self._scope.directory is not None
        return paid or config.answers is not None

    def _account(self, config: TeacherConfig, key: str, cost: int, *, paid: int = 0) -> None:
        if self._scope is not None:
            name = self._scope.names.get(key_of(config.model_dump(mode="json")), "")
            self._scope.questions.keep(name, key, cost=cost, paid=paid)

    def _say_that_views_do_not_repeat(
        self, config: TeacherConfig, teacher: Teacher, view: View, reporter: Reporter
    ) -> None:
        if isinstance(teacher, TableTeacher):
            return
        names = {} if self._scope is None else self._scope.names
        name = names.get(key_of(config.model_dump(mode="json")), "main")
        if isinstance(teacher, LimitedTeacher) and teacher.budget is not None and distributed.world() > 1:
            raise UserError(
                f"the budget of the teacher {name!r} cannot be kept by {distributed.world()} processes that "
                f"ask in every step: set teachers.{name}.view to clean or augment.num_views, or start one "
                "process"
            )
        cure = "set augment.num_views, or " if view == "same" else ""
        reporter.say(
            f"the teacher {name!r} is asked about every image of every batch, for its views do not repeat: "
            f"{cure}set teachers.{name}.view to clean to ask once about each image"
        )

    def _reading(self, config: TeacherConfig, pixels: Pixels) -> str:
        return key_of(config.reference, self._read_as(pixels), str(pixels.device))

    def _seen(self, pixels: Pixels, rows: Tensor) -> list[str]:
        """What a teacher is shown: which images at which size, whatever others are held beside them."""
        return [self._read_as(pixels), str(pixels.device), digest_of(rows.cpu().numpy())]

    def _read_as(self, pixels: Pixels) -> str:
        """From where and at which size images were decoded."""
        raise NotImplementedError


def _answer_bytes(teacher: Teacher) -> int:
    """What the answers for one view take: an embedding and, of a classifier, its logits."""
    classes = len(teacher.classes or ()) if "logits" in teacher.supplies else 0
    return 4 * (teacher.dim + classes)


def room_on(device: torch.device) -> int:
    """Bytes of answers for which a GPU has room beside all else; 0 elsewhere.

    Example:
        >>> room_on(torch.device("cpu"))
        0
    """
    return int(_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
