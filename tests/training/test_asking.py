"""Questions that cost something: how many images are used, what a teacher sees, who judges an evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data import Augmentation, Items, Manifest
from understudy.errors import UserError
from understudy.models.outputs import Outputs
from understudy.teachers import LiveTeacher
from understudy.training.assemble import assemble
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.teaching.asking import check_questions, compares, views_of
from understudy.training.workshop import Workshop


def config(reference: str = "packaged:typefaces", view: str | None = None, **more: Any) -> RunConfig:
    value = {"teachers": {"main": {"reference": reference, "view": view}}, **more}
    run: RunConfig = parse(RunConfig, value, where="test")
    return run


class Stub:
    """A teacher that would like to see what the student sees."""

    name, dim, supplies, classes, view = "stub", 2, frozenset({"embedding"}), None, "same"


STUB: Any = {"main": Stub()}
TURNS = Augmentation(rotate=10)


def test_a_teacher_that_is_asked_once_sees_clean_images() -> None:
    assert views_of(config(), STUB, TURNS) == {"main": "same"}
    few: dict[str, Any] = {"data": {"queries": 50}}
    assert views_of(config(**few), STUB, TURNS) == {"main": "clean"}
    assert views_of(config(view="clean", **few), STUB, TURNS) == {"main": "clean"}
    for view in ("same", "independent"):
        with pytest.raises(UserError, match=rf"teachers\.main\.view '{view}' .* set it to clean"):
            views_of(config(view=view, **few), STUB, TURNS)
    one = Augmentation(rotate=10, num_views=1)
    assert views_of(config(view="same", **few), STUB, one) == {"main": "same"}
    assert views_of(config(view="same", **few), STUB, Augmentation()) == {"main": "same"}


def test_stored_answers_cost_nothing() -> None:
    stored = config("table:answers", data={"queries": 2})
    assert views_of(stored, STUB, TURNS) == {"main": "same"}
    assert compares(stored, unlabelled(), "val")
    check_questions(stored, unlabelled(), ["val"])


def unlabelled() -> Manifest:
    return Manifest.of_paths(".", [f"{row}.png" for row in range(30)], splits=["train"] * 20 + ["val"] * 10)


def test_labels_judge_where_questions_are_counted() -> None:
    labels = ["a", "b"] * 15
    labelled = Manifest.of_paths(
        ".", [f"{row}.png" for row in range(30)], labels=labels, splits=["train"] * 20 + ["val"] * 10
    )
    alone = Manifest.of_paths(
        ".",
        [f"{row}.png" for row in range(30)],
        labels=[f"c{row}" for row in range(30)],
        splits=["train"] * 20 + ["val"] * 10,
    )
    few = config(data={"queries": 20})
    assert not compares(few, labelled, "val")
    assert compares(config(), labelled, "val")
    assert compares(few, alone, "val")  # no class has two images
    assert compares(few, unlabelled(), "val")
    assert not compares(parse(RunConfig, {}, where="test"), unlabelled(), "val")
    check_questions(few, labelled, ["val"])
    check_questions(config(data={"queries": 30}), unlabelled(), ["val"])
    with pytest.raises(UserError, match=r"queries 29 does not reach for 20 training images .* 10 of 'val'"):
        check_questions(config(data={"queries": 29}), unlabelled(), ["val"])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that any live teacher is asked about, in order."""
    rows: list[int] = []
    outputs, embed = LiveTeacher.outputs, LiveTeacher.embed

    def counted_outputs(self: LiveTeacher, items: Items) -> Outputs:
        rows.extend(items.rows.tolist())
        return outputs(self, items)

    def counted_embed(self: LiveTeacher, items: Items) -> torch.Tensor:
        rows.extend(items.rows.tolist())
        return embed(self, items)

    monkeypatch.setattr(LiveTeacher, "outputs", counted_outputs)
    monkeypatch.setattr(LiveTeacher, "embed", counted_embed)
    return rows


@pytest.fixture
def flat(taught: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    folder.mkdir()
    for image in sorted((taught / "images").rglob("*.png")):
        (folder / f"{image.parent.name}-{image.name}").write_bytes(image.read_bytes())
    return folder


@pytest.fixture
def few(settings: Callable[..., dict[str, Any]], taught: Path) -> Callable[..., RunConfig]:
    def fill(source: Path, queries: int, **more: Any) -> RunConfig:
        value = settings(
            **{
                "data": {"source": str(source), "queries": queries},
                "teachers": str(taught / "teacher" / "model"),
                "losses": ["similarity_kl"],
                "supervised": [],
                "sampler": {"batch_size": 8, "neighbours": 3},
                "augment": {"rotate": 10},
                "steps": 6,
                **more,
            }
        )
        run: RunConfig = parse(RunConfig, value, where="test")
        return run

    return fill


def test_each_training_image_is_asked_about_once(
    few: Callable[..., RunConfig], taught: Path, tmp_path: Path, asked: list[int]
) -> None:
    given = few(taught / "images", 12)
    run = execute(given, tmp_path / "run")
    rows = Workshop().dataset(given.data).manifest.rows("train")
    assert sorted(asked) == rows.tolist()
    assert len(asked) == 12
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["images"] == 12
    assert summary["teacher_queries"] == {"main": 12}
    assert "recall@1" in run.metrics  # by the labels of other classes; the teacher was not asked
    assert not any(name.startswith("neighbour_overlap") for name in run.metrics)


def test_without_labels_the_teacher_judges_within_the_limit(
    few: Callable[..., RunConfig], flat: Path, tmp_path: Path, asked: list[int]
) -> None:
    run = execute(few(flat, 20), tmp_path / "run")
    assert len(asked) == len(set(asked)) == 20  # 16 to learn from, 4 to be judged by
    assert list(run.metrics) == ["neighbour_overlap@3"]


def test_batches_of_neighbourhoods_ask_nothing_more(
    few: Callable[..., RunConfig], taught: Path, tmp_path: Path, asked: list[int]
) -> None:
    sampler = {"kind": "teacher_knn", "batch_size": 8, "neighbours": 3}
    execute(few(taught / "images", 12, sampler=sampler), tmp_path / "run")
    assert len(set(asked)) == 12
    assert len(asked) == 12


def test_a_run_of_neighbourhoods_has_the_teacher_s_in_its_batches(
    few: Callable[..., RunConfig], taught: Path
) -> None:
    sampler = {"kind": "teacher_knn", "batch_size": 8, "neighbours": 3, "neighbourhood": 3}
    given = few(taught / "images", 30, sampler=sampler)
    workshop = Workshop()
    parts = assemble(given, workshop, Reporter(quiet=True))
    rows = workshop.dataset(given.data).manifest.rows("train")
    teacher = workshop.teacher(given.teachers["main"], torch.device("cpu"))
    pixels = workshop.pixels(
        given.data,
        [parts.task.student.preprocessing, teacher.model.preprocessing],  # type: ignore[attr-defined]
        ["train", "val"],
        torch.device("cpu"),
        Reporter(quiet=True),
    )
    vectors = teacher.embed(pixels.items(torch.from_numpy(rows)))
    scores = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    nearest = rows[scores.topk(3).indices.numpy()]
    stream = parts.batches(0)
    batches = [next(stream).items.rows.numpy() for _ in range(7)]
    later = next(assemble(given, Workshop(), Reporter(quiet=True)).batches(6)).items.rows.numpy()
    assert np.array_equal(later, batches[6])  # a resumed run goes on with the same neighbourhoods
    batch = batches[0]
    assert set(batch[1:4]) == set(nearest[np.flatnonzero(rows == batch[0])[0]])


def test_part_of_a_mixed_batch_can_be_neighbourhoods(few: Callable[..., RunConfig], taught: Path) -> None:
    given = few(
        taught / "images",
        40,
        data={"source": str(taught / "images"), "label_fraction": 0.5},
        supervised=["multi_similarity"],
        sampler={"kind": "mixed", "batch_size": 16, "unlabelled": "teacher_knn", "neighbours": 3},
    )
    parts = assemble(given, Workshop(), Reporter(quiet=True))
    batch = next(parts.batches(0))
    assert (batch.labels[:8] >= 0).all()
    assert len(batch.labels) == 16
    assert len(set(batch.items.rows[8:].tolist())) == 8


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"teachers": {}, "losses": [], "supervised": None}, "'teacher_knn' needs a teacher"),
        ({"sampler": {"kind": "teacher_knn", "teacher": "mani"}}, "did you mean 'main'"),
        ({"sampler": {"kind": "unlabelled", "teacher": "mani"}}, "'mani' is not a teacher, and this sampler"),
        ({"sampler": {"kind": "teacher_knn", "neighbours": 30}}, "neighbourhood of 20"),
    ],
)
def test_mistakes_are_found_before_an_image_is_decoded(
    few: Callable[..., RunConfig], taught: Path, change: dict[str, Any], sentence: str
) -> None:
    given = few(taught / "images", 12, **{"sampler": {"kind": "teacher_knn"}, **change})

    class Blind(Workshop):
        def pixels(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("decoded")

    with pytest.raises(UserError, match=sentence):
        assemble(given, Blind(), Reporter(quiet=True))
