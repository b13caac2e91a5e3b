"""What the runs of a study share, and that sharing changes no figure."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.config import DataConfig, RunConfig, TeacherConfig, parse
from understudy.data import Augmentation, Items, Preprocessing
from understudy.errors import UserError
from understudy.teachers import LiveTeacher
from understudy.teachers.cached import CachedTeacher
from understudy.training.assemble import assemble
from understudy.training.measuring import measure_teacher, teacher_figures
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.teaching import remembering
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]
CPU, QUIET = torch.device("cpu"), Reporter(quiet=True)
GREY = {"channels": 1, "mean": (0.5,), "std": (0.5,)}
SMALL = Preprocessing(size=(16, 16), resize=(16, 16), **GREY)
LARGE = Preprocessing(size=(20, 20), resize=(24, 24), **GREY)


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


@pytest.fixture
def teacher(taught: Path) -> TeacherConfig:
    return TeacherConfig(reference=str(taught / "teacher" / "model"))


@pytest.fixture
def data(taught: Path) -> DataConfig:
    return DataConfig(source=str(taught / "images"))


def test_data_images_and_teachers_are_opened_once(data: DataConfig, teacher: TeacherConfig) -> None:
    workshop = Workshop()
    assert workshop.dataset(data) is workshop.dataset(data.model_copy())
    assert workshop.dataset(data) is not workshop.dataset(data.model_copy(update={"label_fraction": 0.5}))
    pixels = workshop.pixels(data, [SMALL], ["train"], CPU, QUIET)
    assert pixels is workshop.pixels(data, [SMALL], ["train"], CPU, QUIET)
    assert pixels is not workshop.pixels(data, [SMALL], ["train", "val"], CPU, QUIET)
    assert workshop.teacher(teacher, CPU) is workshop.teacher(
        teacher.model_copy(update={"view": "clean"}), CPU
    )


def test_images_are_decoded_at_the_size_that_serves_everyone(data: DataConfig) -> None:
    workshop = Workshop()
    assert workshop.pixels(data, [SMALL, LARGE], ["val"], CPU, QUIET).tensor.shape == (12, 1, 24, 24)
    set_by_hand = data.model_copy(update={"resize": (30, 28)})
    assert workshop.pixels(set_by_hand, [SMALL], ["val"], CPU, QUIET).tensor.shape == (12, 1, 30, 28)
    colour = Preprocessing(size=(8, 8), resize=(8, 8))
    assert workshop.pixels(data, [SMALL, colour], ["val"], CPU, QUIET).tensor.shape == (12, 3, 16, 16)


def test_validation_classes_and_labelled_classes_are_set_aside(data: DataConfig) -> None:
    manifest = Workshop().dataset(data).manifest
    kept = {manifest.labels[row] for row in manifest.rows("train")}
    held = {manifest.labels[row] for row in manifest.rows("val")}
    assert (len(kept), len(held)) == (6, 2)
    assert not kept & held
    half = Workshop().dataset(data.model_copy(update={"label_fraction": 0.5})).manifest
    assert {half.labels[row] for row in half.rows("val")} == held
    assert len({half.labels[row] for row in half.rows("train")} - {""}) == 3
    assert sum(not half.labels[row] for row in half.rows("train")) == 18


def remembered(
    workshop: Workshop,
    teacher: TeacherConfig,
    data: DataConfig,
    views: Augmentation,
    view: Any = "same",
    seed: int = 0,
) -> Any:
    pixels = workshop.pixels(data, [SMALL], ["train", "val"], CPU, QUIET)
    return workshop.remembering(teacher, views, seed, view, pixels, pixels.rows, QUIET)


def test_answers_are_kept_where_views_repeat(data: DataConfig, teacher: TeacherConfig) -> None:
    workshop, few, fresh = Workshop(), Augmentation(flip=0.5, num_views=2), Augmentation(flip=0.5)
    kept = remembered(workshop, teacher, data, few)
    assert isinstance(kept, CachedTeacher)
    assert kept is remembered(workshop, teacher, data, few)
    assert kept is not remembered(workshop, teacher, data, few, seed=1)
    assert kept is not remembered(workshop, teacher, data, few, "clean")
    assert isinstance(remembered(workshop, teacher, data, fresh, "clean"), CachedTeacher)
    assert isinstance(remembered(workshop, teacher, data, fresh), LiveTeacher)
    assert isinstance(remembered(workshop, teacher, data, few, "independent"), LiveTeacher)


def test_answers_that_do_not_fit_are_asked_for_again_and_again(
    data: DataConfig, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", 100)
    kept = remembered(Workshop(), teacher, data, Augmentation(num_views=1, flip=0.5))
    assert isinstance(kept, LiveTeacher)


def test_a_gpu_with_memory_to_spare_has_room_for_more_answers(
    data: DataConfig, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (100 * 2**30, 140 * 2**30))
    assert remembering.room_on(torch.device("cuda")) == 20 * 2**30
    monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", 100)
    monkeypatch.setattr(remembering, "room_on", lambda _: 10**6)
    kept = remembered(Workshop(), teacher, data, Augmentation(num_views=1, flip=0.5))
    assert isinstance(kept, CachedTeacher)


class Counting:
    """A teacher that says how many images it was shown."""

    def __init__(self, teacher: Any) -> None:
        self.teacher, self.shown, self.queries = teacher, 0, 0
        self.name, self.dim, self.view = teacher.name, teacher.dim, teacher.view
        self.classes, self.supplies = teacher.classes, teacher.supplies

    def outputs(self, items: Items) -> Any:
        self.shown += len(items)
        return self.teacher.outputs(items)

    def embed(self, items: Items) -> Any:
        self.shown += len(items)
        return self.teacher.embed(items)

    def to(self, _: Any) -> Counting:
        return self


def test_images_held_beside_others_are_asked_about_once(
    data: DataConfig, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that measures on val and one that measures on test hold other images, and train on the same."""
    workshop = Workshop()
    counting = Counting(workshop.teacher(teacher, CPU))
    monkeypatch.setattr(workshop, "teacher", lambda *_: counting)
    train = torch.from_numpy(workshop.dataset(data).manifest.rows("train"))
    kept = []
    for splits in (["train", "val"], ["train"]):
        pixels = workshop.pixels(data, [SMALL], splits, CPU, QUIET)
        kept.append(workshop.remembering(teacher, Augmentation(), 0, "clean", pixels, train, QUIET))
        workshop.embeddings(teacher, pixels, train[:5], 2)
    assert kept[0] is kept[1]
    assert counting.shown == len(train)  # the five are among them
    pixels = workshop.pixels(data, [SMALL], ["val"], CPU, QUIET)
    workshop.embeddings(teacher, pixels, pixels.rows, 2)
    assert counting.shown == len(train) + len(pixels.rows)


def test_the_room_for_answers_counts_logits(
    data: DataConfig, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 images, 12 dimensions and the logits of 6 classes."""
    for room, kind in ((48 * 4 * (12 + 6), CachedTeacher), (48 * 4 * (12 + 6) - 1, LiveTeacher)):
        monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", room)
        assert isinstance(remembered(Workshop(), teacher, data, Augmentation(), "clean"), kind)


def test_what_is_not_asked_for_any_more_is_given_up(
    data: DataConfig, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", 2 * 48 * 4 * 18)
    monkeypatch.setattr("understudy.training.workshop._PIXEL_SHARE", 0.0)
    workshop = Workshop()
    answers, images = [], []
    for seed in range(3):
        few = Augmentation(flip=0.5, num_views=1)
        answers.append(weakref.ref(remembered(workshop, teacher, data, few, seed=seed)))
        sized = data.model_copy(update={"resize": (16 + seed, 16)})
        images.append(weakref.ref(workshop.pixels(sized, [SMALL], ["train"], CPU, QUIET)))
    gc.collect()
    assert [reference() is not None for reference in answers] == [False, True, True]
    assert [reference() is not None for reference in images] == [False, False, True]


def test_answers_for_other_images_are_not_mixed_up(
    teacher: TeacherConfig, data: DataConfig, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    """Another data set, or another size, may have the very same row numbers."""
    workshop = Workshop()
    other = DataConfig(
        source=str(make_images(tmp_path / "other", classes=8, images=6, splits=("val", "train")))
    )
    sources = [data, data.model_copy(update={"resize": (40, 40)}), other]
    seen, measured = [], []
    for source in sources:
        pixels = workshop.pixels(source, [SMALL], ["train", "val"], CPU, QUIET)
        rows = torch.arange(40)
        asked = workshop.remembering(teacher, Augmentation(), 0, "clean", pixels, rows, QUIET)
        live = workshop.teacher(teacher, CPU)
        expected = live.embed(pixels.items(rows))
        torch.testing.assert_close(asked.embed(pixels.items(rows)), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            workshop.embeddings(teacher, pixels, rows, 16), expected, atol=1e-5, rtol=1e-5
        )
        seen.append(asked)
        measured.append(expected)
    assert len({id(asked) for asked in seen}) == 3
    assert not torch.allclose(measured[0], measured[2])


def test_a_used_workshop_gives_the_figures_of_a_fresh_one(
    settings: Settings, teacher: TeacherConfig, tmp_path: Path
) -> None:
    """The first run of a study opens the teacher, the others find it open, a restarted one opens it later."""
    value = settings(
        teachers={"main": teacher.model_dump()}, losses=["absolute_teacher"], supervised=["proxy_anchor"]
    )
    workshop = Workshop()
    runs = [
        execute(config(value), tmp_path / name, workshop=place)
        for name, place in (("first", workshop), ("second", workshop), ("alone", Workshop()))
    ]
    first, *others = [(run.path / "model" / "model.safetensors").read_bytes() for run in runs]
    assert others == [first, first]


def test_kept_answers_give_the_losses_of_live_ones(
    settings: Settings, teacher: TeacherConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = settings(
        teachers={"main": teacher.model_dump()},
        losses=["similarity_kl"],
        augment={"rotate": 20, "num_views": 2},
    )
    values = []
    for limit in (2**30, 0):
        monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", limit)
        parts = assemble(config(value), Workshop(), QUIET)
        values.append(
            [
                float(parts.task(batch)["loss"].detach())
                for batch, _ in zip(parts.batches(0), range(3), strict=False)
            ]
        )
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "sentence"), [("mian", "no teacher named 'mian': did you mean 'main'"), ("main", None)]
)
def test_a_teacher_has_a_row_of_its_own(
    settings: Settings, teacher: TeacherConfig, name: str, sentence: str | None
) -> None:
    value = config(settings(teachers={"main": teacher.model_dump()}, losses=["pkt"]))
    if sentence is not None:
        with pytest.raises(UserError, match=sentence):
            teacher_figures(value, name, Workshop())
        return
    row = measure_teacher(value, name, Workshop(), QUIET)
    assert tuple(row["metrics"]) == teacher_figures(value, name, Workshop())
    assert row["metrics"]["neighbour_overlap@10"] == [1.0]
    assert row["parameters"] > 0


def test_a_teacher_that_embeds_no_images_has_no_row(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop = Workshop()
    monkeypatch.setattr(workshop, "teacher", lambda *_: object())
    value = config(settings(teachers={"main": "somewhere"}, losses=["pkt"]))
    with pytest.raises(UserError, match=r"'main' embeds no images: set teachers\.main\.clean"):
        teacher_figures(value, "main", workshop)
