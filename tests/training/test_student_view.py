"""A run whose student sees worse images than its teacher: in training, when measured, and on its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data import Pixels
from understudy.data.degradation import Degradation
from understudy.data.degrade import Degrader
from understudy.data.items import Items
from understudy.evaluation import Describing, embed_pixels
from understudy.training.assemble import Parts, assemble
from understudy.training.measuring import measure
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.workshop import Workshop

WORSE = {"scale": [0.2, 0.5], "jpeg": 20}


@pytest.fixture
def config(settings: Callable[..., dict[str, Any]], taught: Path) -> Callable[..., RunConfig]:
    def fill(**more: Any) -> RunConfig:
        value = settings(
            teachers=str(taught / "teacher" / "model"),
            losses=["similarity_kl"],
            supervised=[],
            sampler={"batch_size": 12},
            **more,
        )
        run: RunConfig = parse(RunConfig, value, where="test")
        return run

    return fill


def assembled(config: RunConfig, workshop: Workshop | None = None) -> Parts:
    return assemble(config, workshop or Workshop(), Reporter(quiet=True))


def test_the_student_sees_less_and_the_teacher_does_not(config: Callable[..., RunConfig]) -> None:
    workshop = Workshop()
    good = assembled(config(), workshop)
    worse = assembled(config(student_view=WORSE), workshop)
    batch = next(worse.batches(0))
    for one, other in zip(good.task.parameters(), worse.task.parameters(), strict=True):
        assert torch.equal(one, other)
    task = good.task.eval()
    taught = [parts.task.teach(batch.items)["main"]["embedding"] for parts in (good, worse)]
    assert torch.equal(taught[0], taught[1])
    seen = [parts.task.eval().outputs(batch.items)["embedding"] for parts in (good, worse)]
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)
    by_hand = Degrader(Degradation.model_validate(WORSE), seed=0)(batch.items)
    assert by_hand.views is batch.items.views
    assert torch.equal(task.outputs(by_hand)["embedding"], seen[1])


def test_a_student_is_measured_on_what_it_sees(config: Callable[..., RunConfig]) -> None:
    workshop = Workshop()
    parts = assembled(config(student_view=WORSE), workshop)
    manifest = workshop.dataset(config().data).manifest
    rows = manifest.rows("val")
    pixels = workshop.pixels(
        config().data,
        [parts.task.student.preprocessing],
        ["train", "val"],
        torch.device("cpu"),
        Reporter(quiet=True),
    )
    sees = Degrader(Degradation.model_validate(WORSE), seed=0)
    content = sees(pixels.items(torch.from_numpy(rows))).content
    by_hand = embed_pixels(parts.task.student, Pixels(content, torch.from_numpy(rows)), rows)
    looking = Describing(sees=sees)
    seen = embed_pixels(parts.task.student, pixels, rows, batch_size=5, describing=looking)
    assert torch.allclose(seen, by_hand, atol=1e-5)
    reports = [
        measure(parts.task.student, config(**more), pixels, "val", workshop).metrics
        for more in ({}, {"student_view": WORSE})
    ]
    assert reports[0] != reports[1]


def test_strengths_follow_the_seed_of_the_views(config: Callable[..., RunConfig]) -> None:
    def shown(**more: Any) -> torch.Tensor:
        sees = assembled(config(student_view=WORSE, **more)).task.sees
        assert sees is not None
        image = torch.from_numpy(np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16))
        content: torch.Tensor = sees(Items(torch.tensor([3]), image)).content
        return content

    assert torch.equal(shown(seed=1, view_seed=5), shown(seed=2, view_seed=5))
    assert not torch.equal(shown(seed=1), shown(seed=2))
    assert torch.equal(shown(seed=5), shown(seed=2, view_seed=5))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_repeats_itself_and_says_what_the_student_saw(
    config: Callable[..., RunConfig], tmp_path: Path, accumulate: int
) -> None:
    given = config(student_view=WORSE, accumulate=accumulate)
    runs = [execute(given, tmp_path / name) for name in ("one", "two")]
    assert runs[0].metrics == runs[1].metrics
    card = (runs[0].path / "model" / "README.md").read_text()
    assert "* the student saw, also when measured, images of scale 0.2 to 0.5, jpeg 20\n" in card
    one, two = (run.model.encode([np.zeros((16, 16), np.uint8)]) for run in runs)
    assert np.array_equal(one, two)  # the model itself degrades nothing


def test_off_is_off(config: Callable[..., RunConfig]) -> None:
    assert assembled(config(student_view={"scale": 1.0})).task.sees is None


def test_the_command_line_takes_a_number_or_a_range(
    command: Callable[..., Any], refused: Callable[..., str], taught: Path, here: Path
) -> None:
    words = ["distill", "--data", taught / "images", "--teacher", taught / "teacher" / "model"]
    words += ["--student", "smallconv_8", "--steps", "1", "--sampler.batch-size", "8", "--supervised", "none"]
    said = refused(*words, "--student-view.jpeg", "200", "--out", "wrong")
    assert "student_view.jpeg" in said
    outcome = command(
        *words, "--student-view.scale", "0.25", "--student-view.jpeg", "[10,30]", "--out", "run"
    )
    assert outcome.status == 0, outcome.err
    written = (here / "run" / "config.yaml").read_text()
    assert "student_view:" in written
    assert "0.25" in written


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_recorded_run_sees_the_same(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    metrics = [
        execute(
            config(student_view=WORSE, device="cuda", precision="fp32", cuda_graph=mode).model_copy(
                update={"steps": 12}
            ),
            tmp_path / mode,
        ).metrics
        for mode in ("auto", "off")
    ]
    assert metrics[0] == pytest.approx(metrics[1], abs=0.05)
