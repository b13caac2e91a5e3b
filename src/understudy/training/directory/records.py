"""What a run writes down while it goes on: its journal, its checkpoints and its best weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from understudy.config import RunConfig
from understudy.models.embedder import Embedder
from understudy.training.assemble import Parts
from understudy.training.directory.best import Best
from understudy.training.directory.checkpoint import latest_checkpoint, save_checkpoint
from understudy.training.directory.journal import Journal
from understudy.training.directory.resuming import refuse_other_images
from understudy.training.ema import MovingAverage
from understudy.training.optim import rate_factor
from understudy.training.processes import distributed
from understudy.training.progress import Reporter


class Records:
    """What the loop calls at its intervals. Every process calls, one writes; a full disk ends them all.

    Args:
        config: What is done.
        parts: What the run is made of.
        out: Its directory.
        reporter: Told about the progress.
        started: When this process began with it, by ``time.monotonic``.

    Attributes:
        best: The best weights so far, where the configuration asks for them.
        average: The moving average of the student's weights, where it asks for that.
    """

    def __init__(
        self, config: RunConfig, parts: Parts, out: Path, reporter: Reporter, *, started: float
    ) -> None:
        self.best = Best(config.evaluation.keep == "best")
        self.average: MovingAverage[Embedder] | None = (
            MovingAverage(parts.task.student, config.ema) if config.ema else None
        )
        self._config = config
        self._parts = parts
        self._checkpoints = out / "checkpoints"
        self._journal = Journal(out / "metrics.jsonl")
        self._reporter = reporter
        self._started = started
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """How long the run has taken; of what a kill has lost, the time up to the last checkpoint."""
        return self._before + time.monotonic() - self._started

    @property
    def model(self) -> Embedder:
        """What is measured and saved: the average where there is one, else the student."""
        return self._parts.task.student if self.average is None else self.average.model

    def log(self, step: int, means: dict[str, float], rate: float) -> None:
        """One line of the losses and the speed."""
        lr = self._config.optim.lr * rate_factor(self._config.schedule, step - 1, self._parts.steps)
        self._write({"step": step, "lr": lr, **means, "images_per_second": round(rate, 1)})
        self._reporter.update(step, means, rate)

    def evaluate(self, step: int) -> None:
        """One line of the figures on the validation split; its first decides which weights are best."""
        report = self._parts.evaluate(self.model, "val")
        self.best.offer(next(iter(report.metrics.values())), [self.model, *self._parts.beside()])
        self._write({"step": step, **{f"val/{name}": value for name, value in report.metrics.items()}})

    def checkpoint(self, step: int, state: dict[str, Any]) -> None:
        """Everything that is needed to go on."""
        whole = {
            "loop": state,
            "best": self.best.state(),
            "sampler": self._parts.sampler.state_dict(),
            "data": self._parts.mark,
            "questions": self._parts.questions.state_dict(),
            "seconds": self.seconds,
        }
        distributed.once(
            lambda: save_checkpoint(self._checkpoints, step, whole, keep=self._config.keep_checkpoints)
        )

    def last_state(self) -> dict[str, Any] | None:
        """The newest sound checkpoint's loop; what lies beside it is taken over here.

        Raises:
            UserError: No checkpoint is sound, or the images are others than when it was written.
        """
        state = distributed.once(lambda: latest_checkpoint(self._checkpoints, self._reporter.say))
        if state is None:
            return None
        refuse_other_images(state.get("data"), self._parts.mark, self._config.data.source)
        self._before = state.get("seconds", 0.0)
        self.best.load_state(state["best"])
        self._parts.sampler.load_state_dict(state.get("sampler", {}))
        self._parts.questions.load_state_dict(state.get("questions", {}))
        loop: dict[str, Any] = state["loop"]
        return loop

    def rewind(self, step: int) -> None:
        """Forgets the lines beyond the step that the run starts from."""
        distributed.once(lambda: self._journal.rewind(step))

    def _write(self, line: dict[str, Any]) -> None:
        distributed.once(lambda: self._journal.write(line))
