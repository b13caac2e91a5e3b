"""The page on two towers: its example prints what it says, its configuration reads, its options exist."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from understudy.config import RunConfig, parse
from understudy.losses import LOSSES

PAGE = (Path(__file__).parents[2] / "docs" / "two-towers.md").read_text(encoding="utf-8")


def test_its_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    example, printed = re.search(r"```python\n(.*?)```\n+```\n(.*?)```", PAGE, re.DOTALL).groups()  # type: ignore[union-attr]
    exec(compile(example, "two-towers.md", "exec"), {})
    assert capsys.readouterr().out == printed


def test_its_configuration_and_its_losses_exist() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    config: RunConfig = parse(RunConfig, yaml.safe_load(text), where="the page")
    assert config.compatible is True
    assert config.losses[-1].gallery == 4096
    named = re.findall(r"`([a-z_]+)`", "".join(line for line in PAGE.splitlines() if line.startswith("| ")))
    assert {"absolute_teacher", "similarity_kl", "soft_target"} <= set(named) <= set(LOSSES)


def test_its_options_exist(command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    option = r"(?<![\w-])(--[a-z][a-z.-]+)"
    helps = "".join(command(verb, "--help").out for verb in ("evaluate", "distill", "embed"))
    assert set(re.findall(option, PAGE)) <= set(re.findall(option, helps))
