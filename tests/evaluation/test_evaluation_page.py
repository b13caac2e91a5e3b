"""The page on evaluation: its example runs, its options and protocols exist, its image is small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.evaluation.choosing import PROTOCOLS
from understudy.teachers.packaged import packaged_path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "evaluation.md").read_text(encoding="utf-8")


def test_its_example_runs(capsys: Any) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "evaluation.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "| ami |" in printed
    asymmetric, student = map(float, printed.splitlines()[-1].split())
    assert 0 < student < 1
    assert asymmetric != student


def test_what_it_names_exists(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    option = r"(?<![\w-])(--[a-z][a-z.-]+)"
    verbs = ("evaluate", "distill", "embed", "compare")
    known = {name for verb in verbs for name in re.findall(option, command(verb, "--help").out)}
    assert set(re.findall(option, PAGE)) <= known
    assert set(re.findall(r"^\| `(\w+)` \|.*\|.*\|.*\|$", PAGE, re.MULTILINE)) == set(PROTOCOLS) - {"auto"}


def test_its_strips_are_small() -> None:
    assert (DOCS / "images" / "strips-typefaces.png").stat().st_size < 300_000


def test_its_figures_are_the_packaged_teacher_s() -> None:
    known = json.loads((packaged_path("typefaces") / "metrics.json").read_text(encoding="utf-8"))
    shown = dict(re.findall(r"^\| ([\w@]+) \| ([\d.]+) % \[", PAGE, re.MULTILINE))
    same = shown.keys() & known.keys()
    assert {"recall@1", "map@r"} <= same
    for name in same:  # the teacher ships in half precision: a query or two change sides
        assert float(shown[name]) == pytest.approx(100 * known[name], abs=0.1)
