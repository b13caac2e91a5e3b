from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.data import typefaces
from understudy.study import demo

Command = Callable[..., Any]


@pytest.mark.slow
def test_the_demo_shows_a_table_and_what_to_run_next(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # a fifth of the images and half the steps: what is shown does not depend on how many there are
    monkeypatch.setattr(typefaces, "SPLIT_OF_SCRIPT", {"CYRILLIC": "train", "ARMENIAN": "test"})
    monkeypatch.setattr(demo, "_QUICK", {**demo._QUICK, "steps": 30})
    started = time.process_time()
    done = command("demo", "--quick", "--out", "demo")
    assert done.status == 0, done.err
    assert time.process_time() - started < 100  # 20 to 25 on two quiet cores; others may run beside it
    table = [line for line in done.out.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in table[2:]] == [
        "teacher",
        "student alone, all labels",
        "student distilled, no labels",
    ]
    for column in ("parameters", "MACs", "images/s", "Recall@1", "MAP@R", "neighbour overlap@10"):
        assert column in table[0]
    assert re.search(r"teacher in \d\d\.\d %", done.out.replace("\n", " "))
    results = json.loads((tmp_path / "demo" / "study" / "results.json").read_text())
    teacher, alone, distilled = results["rows"]
    assert teacher["parameters"] > 4 * alone["parameters"]
    assert teacher["metrics"]["recall@1"][0] > 0.6
    assert min(alone["metrics"]["recall@1"][0], distilled["metrics"]["recall@1"][0]) > 0.2  # chance is 0.02

    _, _, suggested = done.out.partition("What to run next:\n")
    first = shlex.split(suggested.splitlines()[0])
    assert first[:2] == ["understudy", "evaluate"]
    evaluated = command(*first[1:])
    assert evaluated.status == 0, evaluated.err
    assert "| recall@1 |" in evaluated.out

    again = command("demo", "--quick", "--out", "demo")
    assert "2 of 2 runs are finished already" in again.err
    other = command("demo", "--out", "demo")
    assert other.status == 2
    assert "holds a study with other" in other.err
