"""Settings that a run has no use for are named once at its start; a default value never is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from understudy.config import RunConfig, parse
from understudy.config.reading import read_yaml, to_yaml
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.without_effect import without_effect


def config(**value: Any) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"optim": {"momentum": 0.8}}, "optim.momentum does nothing with adamw: it is for sgd"),
        (
            {"optim": {"name": "sgd", "betas": [0.8, 0.9]}},
            "optim.betas does nothing with sgd: it is for",
        ),
        (
            {"schedule": {"name": "step", "floor": 0.1}},
            "schedule.floor does nothing with step: it is for",
        ),
        ({"schedule": {"gamma": 0.3}}, "schedule.gamma does nothing with cosine: it is for step"),
        ({"schedule": {"milestones": [0.3]}}, "schedule.milestones does nothing with cosine: it is for step"),
        (
            {"s2sd": {"variant": "msd", "feature_weight": 5.0}},
            "s2sd.feature_weight does nothing with msd: it is for msdf and msdfa",
        ),
        (
            {"s2sd": {"variant": "dsd", "delay": 5}},
            "s2sd.delay does nothing with dsd: it is for msdf",
        ),
        (
            {"sampler": {"kind": "every_class_once", "replacement": True}},
            "sampler.replacement does nothing with every_class_once: it is for auto and class_balanced and",
        ),
        (
            {"teachers": "any", "sampler": {"kind": "unlabelled", "teacher": "main"}},
            "sampler.teacher does nothing with unlabelled: it is for auto and mixed and teacher_knn",
        ),
        ({"s2sd": {"delay": 100}}, "s2sd.delay 100 is not below the 100 steps of the run, so that the feat"),
        (
            {"supervised": ["margin", {"name": "triplet", "warmup": 101}]},
            "supervised.1.warmup 101 is longer than the 100 steps of the run, so that 'triplet' never has",
        ),
        (
            {"teachers": "any", "losses": [{"name": "pkt", "warmup": 101}]},
            "losses.0.warmup 101 is longer than the 100 steps of the run, so that 'pkt' never has",
        ),
    ],
)
def test_what_does_nothing_is_one_sentence(value: dict[str, Any], sentence: str) -> None:
    (said,) = without_effect(config(**value), 100)
    assert sentence in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"optim": {"name": "sgd", "momentum": 0.8}},
        {"optim": {"betas": [0.8, 0.9]}},
        {"schedule": {"floor": 0.1}},
        {"schedule": {"name": "step", "gamma": 0.3, "milestones": [0.3]}},
        {"s2sd": {"delay": 99}},
        {"s2sd": {"variant": "msd"}},
        {"s2sd": {"feature_weight": 0.0}},
        {"supervised": [{"name": "triplet", "warmup": 100}]},
    ],
)
def test_what_works_is_not_mentioned_however_it_is_spelt_out(value: dict[str, Any], tmp_path: Path) -> None:
    assert without_effect(config(**value), 100) == []
    (tmp_path / "config.yaml").write_text(to_yaml(config(**value)), encoding="utf-8")
    assert without_effect(config(**read_yaml(tmp_path / "config.yaml")), 100) == []


def test_a_run_says_it(
    settings: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = settings(optim={"momentum": 0.5})
    execute(config(**value), tmp_path / "run", reporter=Reporter())
    assert "optim.momentum does nothing with adamw" in capsys.readouterr().err
