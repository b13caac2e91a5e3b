"""Labels where there are some, the teacher everywhere: each loss sees the rows that are its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data.samplers import ClassBalanced, Mixed, Unlabelled
from understudy.losses import MultiSimilarity, SimilarityKL
from understudy.training.assemble import Parts, assemble
from understudy.training.plan import draw_up
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def value(settings: Settings, taught: Path) -> Callable[..., RunConfig]:
    """A student with the shared teacher, and labels for a part of the classes."""

    def fill(labelled: float, **more: Any) -> RunConfig:
        config: RunConfig = parse(
            RunConfig,
            settings(
                **{
                    "data": {"source": str(taught / "images"), "label_fraction": labelled},
                    "teachers": {"main": str(taught / "teacher" / "model")},
                    "losses": [{"name": "similarity_kl", "weight": 2.0, "args": {"temperature": 0.2}}],
                    "sampler": {"batch_size": 16, "images_per_class": 4},
                    "augment": {"rotate": 10},
                    **more,
                }
            ),
            where="test",
        )
        return config

    return fill


def assembled(config: RunConfig) -> Parts:
    return assemble(config, Workshop(), Reporter(quiet=True))


def test_labelled_rows_learn_from_labels_and_all_rows_from_the_teacher(
    value: Callable[..., RunConfig],
) -> None:
    parts = assembled(value(0.5))
    batch = next(parts.batches(0))
    labelled = batch.labels >= 0
    assert labelled[:8].all()  # the labelled half comes first
    assert 0 < labelled[8:].sum() < 8  # the rest is any image
    assert not labelled.all()

    task = parts.task.train()
    outputs, taught = task.outputs(batch.items), task.teach(batch.items)
    losses = task.criterion(outputs, taught, batch.labels, batch.step)
    embedding = outputs["embedding"].detach()
    supervised = MultiSimilarity()(embedding[labelled], batch.labels[labelled])
    distilled = SimilarityKL(temperature=0.2)(embedding, taught["main"]["embedding"])
    assert losses["multi_similarity"].item() == pytest.approx(supervised.item(), rel=1e-5)
    assert losses["similarity_kl"].item() == pytest.approx(distilled.item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx(supervised.item() + 2 * distilled.item(), rel=1e-5)


def test_the_teacher_sees_the_students_view_unless_told_otherwise(value: Callable[..., RunConfig]) -> None:
    images: dict[str | None, torch.Tensor] = {}
    for view in (None, "same", "clean", "independent"):
        config = value(1.0)
        teacher = config.teachers["main"].model_copy(update={"view": view})
        parts = assembled(config.model_copy(update={"teachers": {"main": teacher}}))
        images[view] = parts.task.teach(next(parts.batches(0)).items)["main"]["embedding"]
    assert torch.equal(images[None], images["same"])
    assert not torch.allclose(images["same"], images["clean"])
    assert not torch.allclose(images["same"], images["independent"])


@pytest.mark.parametrize(
    ("labelled", "more", "sampler", "losses"),
    [
        (1.0, {}, ClassBalanced, ["multi_similarity", "similarity_kl"]),
        (0.5, {}, Mixed, ["multi_similarity", "similarity_kl"]),
        (0.0, {}, Unlabelled, ["similarity_kl"]),
        (1.0, {"supervised": []}, Unlabelled, ["similarity_kl"]),
        (0.5, {"supervised": []}, Unlabelled, ["similarity_kl"]),
        (0.5, {"losses": [], "sampler": "class_balanced"}, ClassBalanced, ["multi_similarity"]),
    ],
)
def test_labels_decide_the_batches_and_the_losses(
    value: Callable[..., RunConfig],
    tmp_path: Path,
    labelled: float,
    more: dict[str, Any],
    sampler: type,
    losses: list[str],
) -> None:
    config = value(labelled, **more)
    plan = draw_up(config, Workshop())
    assert type(plan.sampler) is sampler
    assert [term.name for term in plan.terms] == losses
    run = execute(config, tmp_path / "run")
    assert set(run.metrics) >= {"recall@1", "neighbour_overlap@10"}  # the labels of other classes measure
    card = (run.path / "model" / "README.md").read_text()
    assert f"* losses: {', '.join(losses)}\n" in card


def test_the_same_classes_are_labelled_whatever_the_seed_of_the_run(
    value: Callable[..., RunConfig],
) -> None:
    classes = [draw_up(value(0.5, seed=seed), Workshop()).classes for seed in (0, 1)]
    assert classes[0] == classes[1]
    other = value(0.5, data={**value(0.5).data.model_dump(), "split_seed": 5})
    assert draw_up(other, Workshop()).classes != classes[0]


def test_a_flat_folder_needs_no_label(settings: Settings, taught: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for image in sorted((taught / "images").rglob("*.png")):
        (flat / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    config: RunConfig = parse(
        RunConfig,
        settings(data=str(flat), teachers=str(taught / "teacher" / "model"), losses=["hard_darkrank"]),
        where="test",
    )
    run = execute(config, tmp_path / "run")
    assert list(run.metrics) == ["neighbour_overlap@9"]  # ten images are set aside, nine neighbours each
    assert run.model.classes is None
