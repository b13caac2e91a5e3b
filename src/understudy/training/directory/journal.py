"""``metrics.jsonl``: one line for each group of steps and each evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.files import write_text


class Journal:
    r"""Appends JSON lines, and forgets those beyond the step that a resumed run starts from.

    Args:
        path: The file; its parent exists.

    Example:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "metrics.jsonl")
        >>> journal.write({"step": 10, "loss": 1.5})
        >>> journal.write({"step": 20, "loss": 1.0})
        >>> journal.rewind(10)
        >>> journal.path.read_text()
        '{"step": 10, "loss": 1.5}\n'
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: dict[str, Any]) -> None:
        """Appends one line.

        Raises:
            UserError: It cannot be written, because the disk is full or the file may not be changed.
        """
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write {str(self.path)!r} ({error.strerror}): mend that and go on from the last "
                "checkpoint with --resume"
            ) from error

    def rewind(self, step: int) -> None:
        """Drops every line of a later step, and a last line that a killed process left unfinished."""
        if not self.path.exists():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(kept))
