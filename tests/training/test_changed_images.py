"""Images that are only measured and have changed since a table of their vectors was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from understudy.config import DataConfig, TeacherConfig
from understudy.data import open_dataset
from understudy.errors import UserError
from understudy.training.device import find_device
from understudy.training.workshop import Workshop
from understudy.verbs import embed

Command = Callable[..., Any]
STUDENT = ("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2)
SAYS = "have changed since 'table' was written ("


@pytest.fixture
def changed(taught: Path, here: Path) -> str:
    """``images``, ``table`` of their vectors, and the name of a validation image that is another one now."""
    shutil.copytree(taught / "images", here / "images")
    embed(taught / "teacher" / "model", "images", "table")
    manifest = Workshop().dataset(DataConfig(source="images")).manifest
    row = int(manifest.rows("val")[0])
    Image.new("L", (16, 16), 200).save(manifest.path(row))
    return manifest.ids[row]


def test_no_run_is_measured_beside_it(command: Command, changed: str, taught: Path) -> None:
    words = ("distill", "--data", "images", "--student", "smallconv_8", *STUDENT, "--out", "run")
    refused = command(*words, "--teacher", "table:table")
    assert (refused.status, refused.out) == (2, "")
    assert f"{SAYS}{changed!r}): embed them again" in refused.err
    assert not Path("run").exists()


def test_no_study_measures_its_teacher_with_it(command: Command, changed: str) -> None:
    base = {
        "data": "images",
        "teachers": "table:table",
        "student": {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]},
        "steps": 1,
    }
    rows = [{"name": "teacher", "teacher": "main"}, {"name": "alone", "config": {"teachers": {}}}]
    Path("study.yaml").write_text(yaml.safe_dump({"name": "s", "base": base, "rows": rows, "seeds": 1}))
    refused = command("compare", "study.yaml", "--out", "out")
    assert refused.status == 2
    assert f"row 'teacher': 1 of 12 images {SAYS}{changed!r})" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("table:table", "images"),
        ("MODEL", "images", "--teacher", "table:table"),
        ("MODEL", "images", "--gallery", "table:table"),
    ],
)
def test_nothing_is_evaluated_with_it(
    command: Command, changed: str, taught: Path, words: tuple[str, ...]
) -> None:
    model = str(taught / "teacher" / "model")
    refused = command("evaluate", *(model if word == "MODEL" else word for word in words))
    assert (refused.status, refused.out) == (2, "")
    assert f"1 of 48 images {SAYS}{changed!r})" in refused.err


def test_what_was_in_order_when_a_run_began_is_not_looked_at_again(here: Path, taught: Path) -> None:
    """What the run measures was decoded then."""
    shutil.copytree(taught / "images", here / "images")
    embed(taught / "teacher" / "model", "images", "table")
    workshop, data = Workshop(), DataConfig(source="images")
    rows = workshop.dataset(data).manifest.rows("val")
    judge = workshop.judge(TeacherConfig(reference="table:table"), data, find_device("cpu"))
    assert workshop.judges(judge, data, rows)
    Image.new("L", (16, 16), 200).save(open_dataset("images").manifest.path(int(rows[-1])))
    assert workshop.judges(judge, data, rows)
    with pytest.raises(UserError, match="have changed since"):
        workshop.judges(judge, data, rows[1:])
