"""One run of a study, and what it wrote down."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.config import RunConfig, first_difference, read_yaml
from understudy.errors import UserError


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
        file = self.out / "summary.json"
        if not file.is_file():
            return None
        changed = first_difference(read_yaml(self.out / "config.yaml"), self.config.model_dump(mode="json"))
        if changed is not None:
            raise UserError(
                f"{str(self.out)!r} holds a run with another {changed!r}: remove it, or pass another --out"
            )
        summary: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return summary
