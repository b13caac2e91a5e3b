"""Students that ask their teacher's gallery, trained: what they find, what is kept, what a resume gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data.table import write_table
from understudy.evaluation import metric_learning
from understudy.models import load
from understudy.training.assemble import Parts, assemble
from understudy.training.caching import cached_backward
from understudy.training.optim import build_optimiser
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.workshop import Workshop
from understudy.verbs import evaluate

Settings = Callable[..., dict[str, Any]]
STUDENT = {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]}


@pytest.fixture
def wanted(settings: Settings, taught: Path) -> Settings:
    def fill(**more: Any) -> dict[str, Any]:
        teachers = {"main": str(taught / "teacher" / "model")}
        return settings(**{"teachers": teachers, "supervised": [], "student": STUDENT, **more})

    return fill


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


def parts_of(value: dict[str, Any]) -> Parts:
    return assemble(config(value), Workshop(), Reporter(quiet=True))


@pytest.mark.slow
def test_coordinates_find_the_way_into_the_gallery_and_relations_do_not(
    command: Callable[..., Any], wanted: Settings, taught: Path, tmp_path: Path
) -> None:
    """From the command line to a student of 8 numbers that asks a stored gallery of 12, at 3 numbers too."""
    teacher = load(taught / "teacher" / "model")
    images = sorted((taught / "images").rglob("*.png"))
    ids = [image.relative_to(taught / "images").as_posix() for image in images]
    gallery = teacher.encode(images)
    write_table(tmp_path / "table", gallery, ids, metadata={"teacher": "teacher"})
    shared = [
        "--steps",
        60,
        "--optim.lr",
        0.01,
        "--student.input-size",
        "[16,16]",
        "--data.val-fraction",
        0.5,
    ]
    words = ["distill", "--data", taught / "images", "--teacher", taught / "teacher" / "model", *shared]
    words += ["--student", "smallconv_8", "--supervised", "none"]
    done = command(
        *words, "--student.dim", 8, "--student.prefixes", "[3]", "--compatible", "--out", tmp_path / "towers"
    )
    assert done.status == 0, done.err
    report = evaluate(tmp_path / "towers" / "model", taught / "images", gallery=tmp_path / "table", dims=(3,))
    relations = command(*words, "--student.dim", 12, "--loss", "similarity_kl", "--out", tmp_path / "kl")
    assert relations.status == 0, relations.err
    stranger = evaluate(tmp_path / "kl" / "model", taught / "images", gallery=tmp_path / "table")
    assert stranger.beside["student"].metrics["map@r"] > 0.4
    assert report.metrics["map@r"] > stranger.metrics["map@r"] + 0.15
    assert report.prefixes[3].metrics["map@r"] > stranger.metrics["map@r"] + 0.05
    card = (tmp_path / "towers" / "model" / "README.md").read_text()
    assert "| teacher's space | 12 numbers, those of `model`" in card
    assert "| dim3/recall@1 |" in card
    assert "| asymmetric/map@r |" in card


def test_a_run_measures_the_gallery_and_every_length(wanted: Settings, taught: Path, tmp_path: Path) -> None:
    value = wanted(compatible=True, losses=["absolute_teacher"], student={**STUDENT, "prefixes": [2, 5]})
    plan = parts_of(value)
    run = execute(config({**value, "evaluation": {"every": 2}}), tmp_path / "run")
    held = [row for row in plan.evaluate(plan.task.student, "val").counts.items() if row[0] == "queries"]
    images = sorted((taught / "images").rglob("*.png"))
    manifest = Workshop().dataset(config(value).data).manifest
    rows = manifest.rows("val")
    assert held == [("queries", len(rows))]
    files = [images[row] for row in rows]
    labels = np.array([int(file.parent.name[5:]) for file in files])
    gallery = load(taught / "teacher" / "model").encode(files)
    asymmetric = metric_learning(
        run.model.encode(files, space="teacher"), labels, gallery=gallery, reference=gallery
    )
    for name, figure in asymmetric.metrics.items():
        assert run.metrics[f"asymmetric/{name}"] == pytest.approx(figure, abs=1e-6), name
    for dim in (2, 5):
        alone = metric_learning(run.model.encode(files, dim=dim), labels)
        assert run.metrics[f"dim{dim}/recall@1"] == pytest.approx(alone.metrics["recall@1"])
    line = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"val/recall@1", "val/asymmetric/recall@1", "val/dim2/recall@1"} <= line.keys()


def test_the_projection_is_the_students_own(wanted: Settings) -> None:
    parts = parts_of(wanted(compatible=True, losses=["fitnet"], ema=0.9))
    task = parts.task
    projection = task.student.projection
    assert projection is not None
    assert "student.projection.linear.weight" in task.state_dict()
    assert not any(name.startswith("terms") for name, _ in task.named_parameters())
    optimiser = build_optimiser(task, config(wanted()).optim)
    held = [p for group in optimiser.param_groups for p in group["params"]]
    assert sum(p is projection.linear.weight for p in held) == 1


@pytest.mark.parametrize(
    "losses", [["absolute_teacher", "contextual_similarity"], ["soft_target", "default"]]
)
def test_a_batch_in_pieces_has_the_gradient_of_the_whole(wanted: Settings, losses: list[str]) -> None:
    """The terms use the student's projection and the classifier themselves, beside its outputs."""
    student = {**STUDENT, "prefixes": [3], "freeze_bn": True}
    gradients = []
    for pieces in (1, 3):
        parts = parts_of(
            wanted(compatible=True, losses=losses, student=student, supervised=["cross_entropy"])
        )
        batch = next(parts.batches(0))
        if pieces == 1:
            parts.task(batch)["loss"].backward()
        else:
            cached_backward(parts.task, batch, pieces)
        gradients.append({name: p.grad for name, p in parts.task.named_parameters() if p.grad is not None})
    whole, pieced = gradients
    assert whole.keys() == pieced.keys() >= {"student.projection.linear.weight", "classifier.weight"}
    for name, gradient in whole.items():
        torch.testing.assert_close(pieced[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_a_resumed_run_has_the_same_projection(wanted: Settings, tmp_path: Path) -> None:
    value = wanted(
        compatible=True, losses=["absolute_teacher"], student={**STUDENT, "prefixes": [3]}, steps=6
    )
    value |= {"checkpoint_every": 3, "keep_checkpoints": 3}
    whole = execute(config(value), tmp_path / "whole")
    again = execute(config(value), tmp_path / "again")
    (again.path / "summary.json").unlink()
    for left in again.path.glob("checkpoints/*6*"):
        left.unlink()
    resumed = execute(config(value), again.path, resume=True)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor), name
    assert resumed.metrics == whole.metrics


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_recorded_run_is_the_run_at_every_length(wanted: Settings, tmp_path: Path) -> None:
    value = wanted(
        compatible=True,
        losses=["default", "contextual_similarity", "soft_target", "interpolated"],
        supervised=["multi_similarity", "cross_entropy"],
        student={**STUDENT, "prefixes": [3, 5]},
        steps=14,
        device="cuda",
        precision="fp32",
        log_every=2,
    )
    lines = []
    for graph in ("off", "auto"):
        execute(config({**value, "cuda_graph": graph}), tmp_path / graph)
        text = (tmp_path / graph / "metrics.jsonl").read_text()
        lines.append([json.loads(line) for line in text.splitlines() if '"lr"' in line])
    for plain, recorded in zip(*lines, strict=True):
        for name in plain.keys() - {"images_per_second"}:
            assert recorded[name] == pytest.approx(plain[name], rel=2e-2, abs=1e-4), name
