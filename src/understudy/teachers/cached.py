"""A teacher asked once for each image and view: its answers are kept in memory and looked up from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.items import Items
from understudy.data.views import Views
from understudy.heap import kept_memory
from understudy.models.outputs import Outputs
from understudy.teachers.protocol import Teacher, View


class CachedTeacher:
    """Looks the answers of another teacher up in a table of (row, view).

    Every view is asked about once, in a fixed order and before the first step, so that a resumed run reads
    the very numbers that the interrupted one read, and a CUDA graph can record a step that looks them up.

    Attributes:
        cost: How many questions (images × views) the kept answers took.

    Args:
        teacher: The teacher to ask.
        augmentation: Its views; a finite number of them, or none at all.
        seed: The seed of the views.
        view: Whether the teacher sees the student's views or the clean images.

    Raises:
        ValueError: The views are not repeatable: ``augmentation.num_views`` is not set.

    Example:
        >>> from understudy.models import build_embedder
        >>> from understudy.teachers import LiveTeacher
        >>> live = LiveTeacher(build_embedder({"backbone": "smallconv_8", "dim": 4}), name="tiny")
        >>> cached = CachedTeacher(live, Augmentation(), seed=0, view="clean")
        >>> images = torch.zeros(2, 1, 40, 40, dtype=torch.uint8)
        >>> cached.fill(lambda rows: images[rows], torch.tensor([0, 1]))
        >>> cached.embed(Items(torch.tensor([1]), images[:1])).shape
        torch.Size([1, 4])
    """

    capturable = True

    def __init__(self, teacher: Teacher, augmentation: Augmentation, seed: int, view: View) -> None:
        repeatable = view == "clean" or augmentation.off or augmentation.num_views is not None
        if view == "independent" or not repeatable:
            raise ValueError(
                "a teacher's answers can only be kept when its views repeat themselves: set num_views"
            )
        self.teacher = teacher
        self.name = teacher.name
        self.dim = teacher.dim
        self.classes = teacher.classes
        self.supplies = teacher.supplies & {"embedding", "logits"}
        self.view: View = "clean" if augmentation.off else view
        self.augmentation = augmentation
        self.seed = seed
        self.normalised = getattr(teacher, "normalised", None)
        self.num_views = 1 if self.view == "clean" else augmentation.num_views or 1
        self.cost = 0
        self._slot = self._rows = torch.empty(0, dtype=torch.int64)
        self._answers: dict[str, Tensor] = {}

    @property
    def queries(self) -> int:
        """How many images × views the teacher was asked about, for these answers and beside them."""
        return self.teacher.queries

    def fill(
        self,
        content: Callable[[Tensor], Tensor],
        rows: Tensor,
        *,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Asks the teacher for every view of the rows, and keeps what it says.

        Args:
            content: Gives the decoded images of rows, as `Items.content` holds them.
            rows: (n,) int64 manifest rows.
            batch_size: Images at a time.
            progress: Called with how many answers there are and will be.
        """
        self.keep(rows, self.ask(content, rows, batch_size=batch_size, progress=progress))

    def ask(
        self,
        content: Callable[[Tensor], Tensor],
        rows: Tensor,
        *,
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Tensor]:
        """What the teacher says about every view of the rows, (n · num_views, …), views of a row together."""
        answers: dict[str, list[Tensor]] = {name: [] for name in sorted(self.supplies)}
        total, done = len(rows) * self.num_views, 0
        with kept_memory(rows.device):
            for batch in self._batches(content, rows, batch_size):
                outputs = self.teacher.outputs(batch)
                for name, pieces in answers.items():
                    pieces.append(outputs[name].float())  # type: ignore[literal-required]
                done += len(batch)
                if progress is not None:
                    progress(done, total)
        if not len(rows):
            widths = {"embedding": self.dim, "logits": len(self.classes or ())}
            return {name: torch.empty(0, widths[name], device=rows.device) for name in answers}
        return {name: torch.cat(pieces) for name, pieces in answers.items()}

    def keep(self, rows: Tensor, answers: Mapping[str, Tensor]) -> None:
        """Looks answers up from now on.

        Args:
            rows: (n,) int64 manifest rows.
            answers: As `ask` gives them.
        """
        self._answers = dict(answers)
        self.cost = len(rows) * self.num_views
        # One past the end marks a row nobody asked about: it fails instead of giving another's answer.
        size = int(rows.max()) + 1
        self._slot = torch.full((size,), len(rows), dtype=torch.int64, device=rows.device)
        self._slot[rows] = torch.arange(len(rows), device=rows.device)
        self._rows = rows

    def holds(self, rows: Tensor) -> bool:
        """Whether it can say something about all these rows without asking."""
        return bool(torch.isin(rows, self._rows.to(rows.device)).all())

    def outputs(self, items: Items) -> Outputs:
        """The kept answers for the items' rows and views; the content is not looked at."""
        slots = self._slot[items.rows] * self.num_views
        if self.view != "clean" and items.views is not None:
            slots = slots + items.views.numbers.remainder(self.num_views)
        return {name: answers[slots] for name, answers in self._answers.items()}  # type: ignore[return-value]

    def embed(self, items: Items) -> Tensor:
        """(n, dim) embeddings of the items."""
        return self.outputs(items)["embedding"]

    def to(self, device: torch.device | str) -> CachedTeacher:
        """Moves the teacher and its kept answers."""
        self.teacher.to(device)
        self._slot, self._rows = self._slot.to(device), self._rows.to(device)
        self._answers = {name: answers.to(device) for name, answers in self._answers.items()}
        return self

    def _batches(self, content: Callable[[Tensor], Tensor], rows: Tensor, batch_size: int) -> Iterator[Items]:
        every = rows.repeat_interleave(self.num_views)
        numbers = torch.arange(self.num_views, device=rows.device).repeat(len(rows))
        for start in range(0, len(every), batch_size):
            part = every[start : start + batch_size]
            views = None
            if self.view != "clean":
                views = Views(self.augmentation, self.seed, part, numbers[start : start + batch_size])
            yield Items(part, content(part), views)
