"""One run of a study, and what it wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config import RunConfig, first_difference, read_yaml
from understudy.errors import UserError
from understudy.files import write_json
from understudy.training.guard import Diverged

_SUMMARY, _DIVERGED = "summary.json", "diverged.json"


@dataclass(frozen=True)
class Job:
    """One run of a study.

    Attributes:
        title: What a person is told.
        config: Its resolved configuration.
        out: Its run directory.
    """

    title: str
    config: RunConfig
    out: Path

    def summary(self) -> dict[str, Any] | None:
        """What the finished run wrote down, or None.

        Raises:
            UserError: The run that is finished there is another one.
        """
        return self._written(_SUMMARY)

    def divergence(self) -> str | None:
        """What became NaN or infinite and when, where the run ended by that; or None.

        Raises:
            UserError: The run that ended there is another one.
        """
        if self.summary() is not None:  # somebody has finished it since
            return None
        found = self._written(_DIVERGED)
        return None if found is None else str(found["how"])

    def ended(self) -> bool:
        """Whether there is nothing left to do: it is finished, or diverged and would again."""
        return self.summary() is not None or self.divergence() is not None

    def _written(self, name: str) -> dict[str, Any] | None:
        file = self.out / name
        if not file.is_file():
            return None
        changed = first_difference(read_yaml(self.out / "config.yaml"), self.config.model_dump(mode="json"))
        if changed is not None:
            raise UserError(
                f"{str(self.out)!r} holds a run with another {changed!r}: remove it, or pass another --out"
            )
        value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return value


def note_divergence(out: Path, error: Diverged, seconds: float) -> None:
    """Writes into a run's directory that it diverged, so that it is not begun again.

    Args:
        out: The run's directory.
        error: How it ended.
        seconds: How long it took until then, since it was last begun.
    """
    write_json(out / _DIVERGED, {"how": error.what, "seconds": round(seconds, 3)})


def ending(out: Path) -> dict[str, Any] | None:
    """What the run in a directory, finished or diverged, wrote down at its end; None before that."""
    for name in (_SUMMARY, _DIVERGED):
        if (out / name).is_file():
            value: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))
            return value
    return None
