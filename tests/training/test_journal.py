from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from understudy.errors import UserError
from understudy.training.directory.journal import Journal


def steps(journal: Journal) -> list[int]:
    return [json.loads(line)["step"] for line in journal.path.read_text().splitlines()]


def test_rewinding_drops_later_lines_and_one_that_was_cut_short(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        journal.write({"step": step})
    with journal.path.open("a") as file:
        file.write('{"step": 4')
    journal.rewind(20)
    assert steps(journal) == [10, 20]
    journal.rewind(0)
    assert steps(journal) == []


def test_nothing_to_rewind(tmp_path: Path) -> None:
    Journal(tmp_path / "metrics.jsonl").rewind(5)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.write({"step": 10})
    with pytest.raises(UserError, match=r"cannot write '.*metrics\.jsonl'.*--resume"), full_disk(20):
        journal.write({"step": 20, "loss": 1.0})
    journal.rewind(20)  # what was written of the line is no line
    assert steps(journal) == [10]
