"""A finished run, and how it is read back from its directory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from understudy.errors import UserError
from understudy.models import load
from understudy.models.embedder import Embedder


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: Its directory.
        metrics: The final figures, as fractions, on the split that the configuration names.
    """

    path: Path
    metrics: dict[str, float]

    @cached_property
    def model(self) -> Embedder:
        """The trained student, as saved."""
        return load(self.path / "model")


def read_run(path: str | Path) -> Run:
    """A finished run from its directory.

    Raises:
        UserError: There is no finished run there.
    """
    path = Path(path)
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{str(path)!r} holds no finished run: it has no readable summary.json") from None
    if not isinstance(summary, dict) or "metrics" not in summary:
        raise UserError(f"{str(path / 'summary.json')!r} holds no metrics: run it again in another --out")
    return Run(path, summary["metrics"])
