"""The verbs as a Python program calls them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import understudy
from understudy.data import open_dataset
from understudy.data.table import Table
from understudy.training.directory.results import Run

SMALL: dict[str, Any] = {"backbone": "smallconv_8", "dim": 8, "input_size": (16, 16)}


@pytest.fixture
def images(taught: Path) -> Path:
    return taught / "images"


@pytest.fixture
def teacher(taught: Path) -> Path:
    return taught / "teacher" / "model"


def test_a_teacher_becomes_a_student(images: Path, teacher: Path, tmp_path: Path) -> None:
    run = understudy.distill(
        images,
        teacher,
        {"backbone": "smallconv_8", "input_size": [16, 16]},
        dim=6,
        steps=4,
        out=tmp_path / "run",
    )
    assert isinstance(run, Run)
    assert run.path == tmp_path / "run"
    assert run.metrics == json.loads((run.path / "summary.json").read_text())["metrics"]
    assert {"recall@1", "neighbour_overlap@10"} <= run.metrics.keys()
    paths = sorted(images.rglob("*.png"))
    vectors = run.model.encode(paths)
    assert vectors.shape == (48, 6)
    np.testing.assert_allclose(understudy.load(run.path / "model").encode(paths), vectors)
    again = understudy.distill(
        images,
        teacher,
        {"backbone": "smallconv_8", "input_size": [16, 16]},
        dim=6,
        steps=4,
        out=run.path,
        resume=True,
    )
    assert again.metrics == run.metrics


def test_a_verb_and_its_command_do_the_same(
    images: Path, teacher: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    run = understudy.distill(
        images,
        teacher,
        SMALL,
        losses=["pkt", {"name": "hard_darkrank", "weight": 0.5}],
        supervised=["batch_hard_triplet"],
        epochs=2,
        seed=3,
        sampler={"images_per_class": 2},
        augment={"rotate": 5},
        out=tmp_path / "verb",
    )
    words = ("--student", "smallconv_8", "--student.dim", 8, "--student.input-size", "[16,16]", "--epochs", 2)
    losses = ("--loss", "pkt", "--loss", "hard_darkrank=0.5", "--supervised", "batch_hard_triplet")
    rest = (
        "--seed",
        3,
        "--sampler.images-per-class",
        2,
        "--augment.rotate",
        5,
        "--out",
        tmp_path / "command",
    )
    done = command("distill", "--data", images, "--teacher", teacher, *words, *losses, *rest)
    assert done.status == 0, done.err
    weights = [
        (tmp_path / place / "model" / "model.safetensors").read_bytes() for place in ("verb", "command")
    ]
    assert weights[0] == weights[1]
    assert run.metrics == json.loads((tmp_path / "command" / "summary.json").read_text())["metrics"]


def test_several_teachers_and_settings_as_mappings(images: Path, teacher: Path, tmp_path: Path) -> None:
    run = understudy.distill(
        {"source": str(images), "label_fraction": 0.5},
        {"one": str(teacher), "two": {"reference": str(teacher), "view": "clean"}},
        SMALL,
        losses=[{"name": "pkt", "teacher": "one"}, {"name": "similarity_kl", "teacher": "two"}],
        sampler={"batch_size": 16},
        steps=2,
        log_every=1,
        out=tmp_path / "run",
    )
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {"pkt", "similarity_kl", "multi_similarity"} <= lines[0].keys()


def test_training_alone_and_by_itself(images: Path, tmp_path: Path) -> None:
    alone = understudy.train(images, SMALL, steps=2, out=tmp_path / "alone")
    itself = understudy.train(images, SMALL, steps=2, s2sd={"dims": [16]}, out=tmp_path / "itself")
    assert alone.metrics.keys() == itself.metrics.keys()
    assert "neighbour_overlap@10" not in alone.metrics


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda i, t, o: understudy.distill(i, t, SMALL, learning_rate=1, out=o),
            "settings: there is no key 'learn",
        ),
        (
            lambda i, t, o: understudy.distill(i, t, SMALL, teachers={}, out=o),
            "'teachers' is the argument `teacher`",
        ),
        (lambda i, t, o: understudy.train(i, SMALL, student="x", out=o), "'student' is the argument `model`"),
        (
            lambda i, t, o: understudy.distill(i, t, SMALL, losses=["pkd"], out=o),
            "no loss named 'pkd': did you mean",
        ),
        (
            lambda i, t, o: understudy.distill(i, t, SMALL, losses=3, out=o),  # type: ignore[arg-type]
            "`losses` cannot be a int: pass names of losses",
        ),
        (
            lambda i, t, o: understudy.distill(i, understudy.load(t), SMALL, out=o),  # type: ignore[arg-type]
            "`teacher` cannot be a Embedder: pass its reference or directory",
        ),
        (
            lambda i, t, o: understudy.distill(i, [t], SMALL, out=o),  # type: ignore[arg-type]
            "`teacher` cannot be a list: .* or a mapping from names to these",
        ),
        (
            lambda i, t, o: understudy.distill([i / "a.png"], t, SMALL, out=o),  # type: ignore[arg-type]
            "`data` cannot be a list: pass a folder",
        ),
        (
            lambda i, t, o: understudy.distill(i, t, None, out=o),  # type: ignore[arg-type]
            "`student` cannot be a NoneType: pass a backbone's name",
        ),
        (
            lambda i, t, o: understudy.train(i, understudy.load(t), out=o),  # type: ignore[arg-type]
            "`model` cannot be a Embedder: pass a backbone's name",
        ),
        (
            lambda i, t, o: understudy.distill(i, t, SMALL, losses="pkd", out=o),
            "no loss named 'pkd': did you mean",
        ),
        (
            lambda i, t, o: understudy.train(i, SMALL, supervised={"name": "margn"}, out=o),
            "'margn': did you mean 'margin'",
        ),
        (lambda i, t, o: understudy.train("no/where", SMALL, out=o), "'no/where' is neither a manifest"),
        (lambda i, t, o: understudy.train(i, SMALL, epochs=-1, out=o), r"'epochs' does not fit \(-1\)"),
        (lambda i, t, o: understudy.embed(i, i, o), "has no config.json"),
        (lambda i, t, o: understudy.evaluate(t, i, teacher="tim:x"), "no kind of teacher named 'tim'"),
    ],
)
def test_mistakes_are_user_errors(
    images: Path, teacher: Path, tmp_path: Path, call: Callable[[Path, Path, Path], object], sentence: str
) -> None:
    with pytest.raises(understudy.UserError, match=sentence):
        call(images, teacher, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_in_memory_is_embedded_and_measured(images: Path, teacher: Path, tmp_path: Path) -> None:
    model = understudy.load(teacher)
    table = understudy.embed(model, images, tmp_path / "table", batch_size=10)
    assert isinstance(table, Table)
    assert (len(table), table.dim) == (48, 12)
    manifest = open_dataset(images).manifest
    reports = [understudy.evaluate(what, manifest).metrics for what in (model, teacher, tmp_path / "table")]
    assert reports[0] == reports[1]
    assert reports[2] == pytest.approx(reports[0])
    assert not model.training


def test_a_table_can_be_the_teacher_of_an_evaluation(images: Path, teacher: Path, tmp_path: Path) -> None:
    understudy.embed(teacher, images, tmp_path / "table")
    report = understudy.evaluate(teacher, images, teacher=tmp_path / "table")
    assert report.metrics["neighbour_overlap@10"] > 0.99
    assert report.counts["queries"] == 48


def test_training_outside_the_main_thread(images: Path, tmp_path: Path) -> None:
    """Signals are the main thread's alone; a run elsewhere does without them."""
    runs: list[Run] = []
    worker = threading.Thread(
        target=lambda: runs.append(understudy.train(images, SMALL, steps=1, out=tmp_path / "run"))
    )
    worker.start()
    worker.join()
    assert runs[0].metrics


def test_the_callers_random_numbers_do_not_matter(images: Path, tmp_path: Path) -> None:
    metrics = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        metrics.append(understudy.train(images, SMALL, steps=2, out=tmp_path / str(seed)).metrics)
    assert metrics[0] == metrics[1]


def test_a_misspelt_verb_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        understudy.distil  # noqa: B018
