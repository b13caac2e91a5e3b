"""Every verb takes the teachers that can only be asked: a function, an ONNX file, a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.data import open_dataset
from understudy.data.table import Table
from understudy.models import load

Command = Callable[..., Any]

FACTORY = """
def small(scale=1.0):
    from understudy.models import load
    model = load("teacher").eval()
    def ask(images):
        return scale * model.embed(images)
    ask.preprocessing = model.preprocessing
    ask.dim = model.dim
    return ask
"""


@pytest.fixture
def teachers(here: Path, taught: Path) -> Path:
    """``api.py`` and ``net.onnx`` give what the model in ``teacher`` gives."""
    (here / "api.py").write_text(FACTORY)
    (here / "teacher").symlink_to(taught / "teacher" / "model")
    (here / "images").symlink_to(taught / "images")
    return here


def recall(out: str) -> str:
    (line,) = [line for line in out.splitlines() if "recall@1 " in line]
    return line


def test_a_function_is_evaluated_embedded_and_taught_by(teachers: Path, command: Command) -> None:
    """As teacher, as gallery, stored and as the table of its answers it ranks as the model behind it does."""
    plain = command("evaluate", "teacher", "images", "--out", "plain.json")
    assert plain.status == 0, plain.err
    asked = command("evaluate", "python:api:small?scale=2", "images", "--out", "asked.json")
    assert asked.status == 0, asked.err
    assert recall(asked.out) == recall(plain.out)
    facts = json.loads(Path("asked.json").read_text())["provenance"]["models"]["query"]
    assert facts["teacher"] == "python:api:small?scale=2"

    stored = command("embed", "python:api:small", "images", "--out", "table")
    assert stored.status == 0, stored.err
    dataset = open_dataset("images")
    vectors = load("teacher").encode([dataset.manifest.path(row) for row in range(48)])
    table = Table.open("table")
    np.testing.assert_allclose(table.read(table.rows(dataset.manifest.ids)), vectors, atol=1e-5)
    assert table.queries == 48
    gallery = command("evaluate", "teacher", "images", "--gallery", "table:table", "--out", "both.json")
    assert gallery.status == 0, gallery.err

    small = ["--student", "smallconv_8", "--student.dim", "8", "--student.input-size", "[16,16]"]
    words = ["--steps", "3", "--teacher", "table:table", "--out", "run"]
    taught = command("distill", "--data", "images", *words, *small)
    assert taught.status == 0, taught.err
    assert json.loads(Path("run/summary.json").read_text())["teacher_queries"] == {"main": 36}


def test_what_cannot_be_asked_is_one_sentence(teachers: Path, refused: Callable[..., str]) -> None:
    (teachers / "net.onnx").write_bytes(b"no net")
    assert "is no ONNX file that can be read" in refused("evaluate", "onnx:net.onnx?mean=0&std=1", "images")
    assert "no function 'tiny'" in refused("embed", "python:api:tiny", "images", "--out", "table")
    assert "there is no embedding table at 'nowhere'" in refused("evaluate", "table:nowhere", "images")
