"""The page on teachers: its example runs, its settings, tables and options are those of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
import yaml

from understudy.config import RunConfig, parse
from understudy.data.items import Items
from understudy.data.preprocessing import Preprocessing
from understudy.teachers.limited import FIRST_WAIT, LONGEST_WAIT, RETRIES
from understudy.teachers.onnx import SETTINGS
from understudy.training.teaching.answering import SHARD_ROWS

PAGE = (Path(__file__).parents[2] / "docs" / "teachers.md").read_text(encoding="utf-8")


def test_its_example_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "teachers.md", "exec"), names)
    items = Items(torch.arange(2), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    assert names["teacher"].embed(items).tolist() == [[1.0] * 3] * 2
    assert names["teacher"].queries == 2


def test_its_settings_exist() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    main = parse(RunConfig, yaml.safe_load(block), where="teachers.md").teachers["main"]
    assert (main.budget, main.rate, main.retries) == (20000, 50.0, RETRIES)


def test_its_settings_of_onnx_files_are_all_there_are() -> None:
    table = PAGE.partition("| setting |")[2].partition("A file may say")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == set(SETTINGS)
    defaults = Preprocessing(size=(1, 1), resize=(1, 1))
    assert (defaults.mode, defaults.interpolation) == ("shorter", "bicubic")


def test_its_numbers_are_those_of_the_code() -> None:
    assert (FIRST_WAIT, LONGEST_WAIT) == (0.5, 8.0)
    assert f"as they come, {SHARD_ROWS} at a time" in PAGE
