"""The task: a student, its teachers and the losses between them; the loop knows nothing of distillation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.errors import UserError
from understudy.models.embedder import Embedder
from understudy.models.outputs import Outputs
from understudy.teachers.live import LiveTeacher
from understudy.teachers.protocol import Teacher, View
from understudy.training.objective.draws import Draws
from understudy.training.objective.step import Step
from understudy.training.objective.terms import DistillationTerm, MapsTerm, Term, Wrapper


class Task(nn.Module):
    """Owns the student, the loss terms and what they train besides it; calls the teachers, never trains them.

    Args:
        student: The model that is trained.
        terms: The parts of the loss.
        teachers: Teachers by name; not part of the task's state.
        views: What each teacher sees of an augmented image; default: the teacher's own preference.
        classifier: A linear map from ``raw`` to classes, where a loss needs logits; task state.
        seed: Seed of the losses' random draws.
        sees: Makes the student's items of a batch's, where it is to see less than its teachers.
        bf16: Run student and teachers in bfloat16 autocast; losses stay in float32.

    Example:
        >>> from understudy.models import build_embedder
        >>> from understudy.losses import MultiSimilarity
        >>> from understudy.training.objective.terms import SupervisedTerm
        >>> student = build_embedder({"backbone": "smallconv_8", "dim": 16})
        >>> loss = SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", weight=1.0)
        >>> sorted(name for name, _ in Task(student, [loss]).named_children())
        ['student', 'terms']
    """

    def __init__(
        self,
        student: Embedder,
        terms: Sequence[Term],
        teachers: Mapping[str, Teacher] | None = None,
        *,
        views: Mapping[str, View] | None = None,
        classifier: nn.Linear | None = None,
        seed: int = 0,
        sees: Callable[[Items], Items] | None = None,
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.terms = nn.ModuleList(terms)
        self.classifier = classifier
        self.draws = Draws(seed)
        self.sees = sees
        self.bf16 = bf16
        needed = {term.teacher for term in terms if isinstance(term, DistillationTerm | MapsTerm)}
        # A plain dictionary: teachers are neither parameters nor state of the task.
        self._teachers = {name: teacher for name, teacher in (teachers or {}).items() if name in needed}
        self._views = dict(views or {})
        self._outputs: Callable[[Items], Outputs] = self._student_outputs
        self.wrap(None)  # a run before may have had the same teacher compiled

    def forward(self, batch: Batch, taught: Mapping[str, Outputs] | None = None) -> dict[str, Tensor]:
        """One step's loss.

        Args:
            batch: Images (or other items), labels and the step's number.
            taught: What some of the teachers gave for it already, beside what the batch brings along; the
                others are asked.

        Returns:
            ``loss``, the weighted sum to minimise, and each term's unweighted value under its name.
        """
        known = self.brought(batch) | dict(taught or {})
        # Teachers first: one that refuses to answer then leaves the student as it was.
        known |= self.teach(batch.items, self._teachers.keys() - known.keys())
        outputs = self.outputs(batch.items)
        return self.criterion(outputs, known, batch.labels, batch.step, batch.counts)

    def outputs(self, items: Items) -> Outputs:
        """What the student gives for the items, logits included where a loss needs them."""
        # What makes images worse stays as it is written: a compiler's roundings would move JPEG's.
        return self._outputs(items if self.sees is None else self.sees(items))

    def wrap(self, wrapper: Wrapper | None) -> None:
        """Lets student, live teachers and losses be computed in another way.

        Args:
            wrapper: Makes a function of a function, such as ``torch.compile``; None: as it was.
        """
        self._outputs = self._student_outputs if wrapper is None else wrapper(self._student_outputs)
        for teacher in self._teachers.values():
            if isinstance(teacher, LiveTeacher):
                teacher.wrap(wrapper)
        for term in self.loss_terms():
            term.wrap(wrapper)

    def _student_outputs(self, items: Items) -> Outputs:
        prepared = self.student.prepare(items)
        with self._autocast(prepared.device):
            outputs: Outputs = self.student(prepared)
            if self.classifier is not None:
                outputs["logits"] = self.classifier(outputs["raw"])
        return outputs

    def loss_terms(self) -> list[Term]:
        """The terms of the loss, typed."""
        return [term for term in self.terms if isinstance(term, Term)]

    def taught_by(self) -> tuple[str, ...]:
        """The names of the teachers that some term needs."""
        return tuple(self._teachers)

    def taught_in_graph(self) -> tuple[str, ...]:
        """The teachers whose answers a CUDA graph can record; the others are asked before each replay."""
        return tuple(name for name, one in self._teachers.items() if getattr(one, "capturable", False))

    def asked_again(self, count: int) -> None:
        """Counts the questions about so many images that a replayed graph asks its teachers."""
        for name in self.taught_in_graph():
            count_again = getattr(self._teachers[name], "replayed", None)
            if count_again is not None:
                count_again(count)

    def set_step(self, number: int) -> None:
        """Tells every term which step comes; what changes with it is written to the device."""
        for term in self.loss_terms():
            term.set_step(number)

    def brought(self, batch: Batch) -> dict[str, Outputs]:
        """What the needed teachers have said about a batch, where it brings that along."""
        return {
            name: cast("Outputs", answers) for name, answers in batch.taught.items() if name in self._teachers
        }

    def teach(self, items: Items, names: Collection[str] | None = None) -> dict[str, Outputs]:
        """What the needed teachers give for the items, as constants.

        Args:
            items: The student's items; each teacher sees its own view of them.
            names: Only these teachers; default: all that some term needs.
        """
        taught: dict[str, Outputs] = {}
        for name, teacher in self._teachers.items():
            if names is not None and name not in names:
                continue
            seen = items.seen(self._views.get(name, teacher.view))
            with torch.no_grad(), self._autocast(seen.rows.device):
                taught[name] = teacher.outputs(seen)
        return taught

    def criterion(
        self,
        outputs: Outputs,
        taught: Mapping[str, Outputs],
        labels: Tensor,
        number: int,
        counts: tuple[int, ...] | None = None,
    ) -> dict[str, Tensor]:
        """The losses of one step, from vectors and labels alone.

        Args:
            outputs: The student's outputs for the rows of this process.
            taught: The teachers' outputs for the same rows.
            labels: (n,) class numbers, -1 where unlabelled.
            number: The step, counted from 0.
            counts: Rows of every process, where they are known; else the processes ask each other.

        Returns:
            As `forward`.
        """
        self.set_step(number)
        step = Step(number, outputs, taught, labels, self.draws, counts or ())
        parts: dict[str, Tensor] = {}
        total: Tensor | None = None
        with torch.autocast(labels.device.type, enabled=False):
            for term in self.loss_terms():
                try:
                    value = term(step)
                except ValueError as error:  # what a loss asks of its inputs, in one sentence of its own
                    raise UserError(str(error)) from error
                parts[term.name] = value.detach()
                weighted = term.weighted(value)
                total = weighted if total is None else total + weighted
        assert total is not None
        return {"loss": total, **parts}

    def _autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        if self.bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()
