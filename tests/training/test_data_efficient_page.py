"""The page on few images and questions: its example runs, its settings and options exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config import RunConfig, merge, parse
from understudy.config.recipes import read_run_settings

PAGE = (Path(__file__).parents[2] / "docs" / "data-efficient.md").read_text(encoding="utf-8")
SETTINGS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_its_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    runnable = [block for block in blocks if "photos/" not in block]
    assert runnable
    for block in blocks:
        compiled = compile(block, "data-efficient.md", "exec")
        if block in runnable:
            exec(compiled, {})


@pytest.mark.parametrize("text", SETTINGS)
def test_its_settings_exist(text: str) -> None:
    assert len(SETTINGS) == 5
    parse(
        RunConfig,
        merge({"teachers": {"main": {"reference": "table:answers"}}}, yaml.safe_load(text)),
        where="",
    )


def test_its_recipe_and_preset_are_the_packaged_ones() -> None:
    assert yaml.safe_load(SETTINGS[0]) == read_run_settings("data_efficient")
    value = {"teachers": "table:answers"}
    written = parse(RunConfig, {**value, **yaml.safe_load(SETTINGS[1])}, where="")
    assert written == parse(RunConfig, {**value, "preset": "data_efficient"}, where="")


def test_its_options_exist(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    option = r"(?<![\w-])(--[a-z][a-z.-]+)"
    known = {
        name for verb in ("evaluate", "distill") for name in re.findall(option, command(verb, "--help").out)
    }
    assert set(re.findall(option, PAGE)) <= known
