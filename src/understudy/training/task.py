"""The task: a student, its teachers and the losses between them; the loop knows nothing of distillation."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.errors import UserError
from understudy.models.embedder import Embedder
from understudy.models.outputs import Outputs
from understudy.teachers.protocol import Teacher, View
from understudy.training.step import Step
from understudy.training.terms import DistillationTerm, MapsTerm, Term


class Task(nn.Module):
    """Owns the student, the loss terms and what they train besides it; calls the teachers, never trains them.

    Args:
        student: The model that is trained.
        terms: The parts of the loss.
        teachers: Teachers by name; not part of the task's state.
        views: What each teacher sees of an augmented image; default: the teacher's own preference.
        classifier: A linear map from ``raw`` to classes, where a loss needs logits; task state.
        seed: Seed of the losses' random draws.
        bf16: Run student and teachers in bfloat16 autocast; losses stay in float32.

    Example:
        >>> from understudy.models import build_embedder
        >>> from understudy.losses import MultiSimilarity
        >>> from understudy.training.terms import SupervisedTerm
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
        bf16: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.terms = nn.ModuleList(terms)
        self.classifier = classifier
        self.seed = seed
        self.bf16 = bf16
        needed = {term.teacher for term in terms if isinstance(term, DistillationTerm | MapsTerm)}
        # A plain dictionary: teachers are neither parameters nor state of the task.
        self._teachers = {name: teacher for name, teacher in (teachers or {}).items() if name in needed}
        self._views = dict(views or {})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """One step's loss.

        Args:
            batch: Images (or other items), labels and the step's number.

        Returns:
            ``loss``, the weighted sum to minimise, and each term's unweighted value under its name.
        """
        return self.criterion(self.outputs(batch.items), self.teach(batch.items), batch.labels, batch.step)

    def outputs(self, items: Items) -> Outputs:
        """What the student gives for the items, logits included where a loss needs them."""
        prepared = self.student.prepare(items)
        with self._autocast(prepared.device):
            outputs: Outputs = self.student(prepared)
            if self.classifier is not None:
                outputs["logits"] = self.classifier(outputs["raw"])
        return outputs

    def teach(self, items: Items) -> dict[str, Outputs]:
        """What each needed teacher gives for the items, as constants."""
        taught: dict[str, Outputs] = {}
        for name, teacher in self._teachers.items():
            seen = items.seen(self._views.get(name, teacher.view))
            with torch.no_grad(), self._autocast(seen.rows.device):
                taught[name] = teacher.outputs(seen)
        return taught

    def criterion(
        self, outputs: Outputs, taught: Mapping[str, Outputs], labels: Tensor, number: int
    ) -> dict[str, Tensor]:
        """The losses of one step, from vectors and labels alone.

        Args:
            outputs: The student's outputs for the rows of this process.
            taught: The teachers' outputs for the same rows.
            labels: (n,) class numbers, -1 where unlabelled.
            number: The step, counted from 0.

        Returns:
            As `forward`.
        """
        step = Step(number, outputs, taught, labels, self.seed)
        parts: dict[str, Tensor] = {}
        total: Tensor | None = None
        with torch.autocast(labels.device.type, enabled=False):
            for term in self.terms:
                assert isinstance(term, Term)
                try:
                    value = term(step)
                except ValueError as error:  # what a loss asks of its inputs, in one sentence of its own
                    raise UserError(str(error)) from error
                parts[term.name] = value.detach()
                weighted = term.factor(number) * value
                total = weighted if total is None else total + weighted
        assert total is not None
        return {"loss": total, **parts}

    def _autocast(self, device: torch.device) -> contextlib.AbstractContextManager[object]:
        if self.bf16:
            return torch.autocast(device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()
