"""A teacher's kept answers are those it would give."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from understudy.data import Augmentation
from understudy.data.items import Items
from understudy.data.views import Views
from understudy.models import load
from understudy.teachers import LiveTeacher
from understudy.teachers.cached import CachedTeacher
from understudy.teachers.protocol import View

VARIED = Augmentation(rotate=20, brightness=0.3, crop_scale=(0.5, 1), flip=0.5, num_views=3)


@pytest.fixture
def live(taught: Path) -> LiveTeacher:
    return LiveTeacher(load(taught / "teacher" / "model"), name="live")


IMAGES = torch.randint(0, 256, (9, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
ROWS = torch.tensor([8, 2, 5, 0])


def kept(live: LiveTeacher, augmentation: Augmentation, view: View) -> CachedTeacher:
    teacher = CachedTeacher(live, augmentation, seed=7, view=view)
    teacher.fill(lambda rows: IMAGES[rows], ROWS, batch_size=5)
    return teacher


@pytest.mark.parametrize("name", ["embedding", "logits"])
def test_answers_are_the_live_ones(live: LiveTeacher, name: str) -> None:
    teacher = kept(live, VARIED, "same")
    rows = torch.tensor([5, 8, 0, 0, 2, 5])
    numbers = torch.tensor([0, 1, 2, 4, 9, 3])
    items = Items(rows, IMAGES[rows], Views(VARIED, 7, rows, numbers))
    shown = Items(rows, IMAGES[rows], Views(VARIED, 7, rows, numbers % 3))
    torch.testing.assert_close(
        teacher.outputs(items)[name],  # type: ignore[literal-required]
        live.outputs(shown)[name],  # type: ignore[literal-required]
        atol=1e-5,
        rtol=1e-5,
    )
    assert not torch.allclose(teacher.embed(items[2:3]), teacher.embed(items[3:4]))  # two views of one image


def test_a_clean_answer_does_not_look_at_the_view(live: LiveTeacher) -> None:
    teacher = kept(live, VARIED, "clean")
    assert teacher.num_views == 1
    items = Items(ROWS, IMAGES[ROWS], Views(VARIED, 7, ROWS, torch.arange(4)))
    torch.testing.assert_close(teacher.embed(items), live.embed(items.seen("clean")), atol=1e-5, rtol=1e-5)


def test_without_augmentation_there_is_one_view(live: LiveTeacher) -> None:
    teacher = kept(live, Augmentation(), "same")
    assert (teacher.num_views, teacher.view) == (1, "clean")
    items = Items(ROWS, IMAGES[ROWS])
    torch.testing.assert_close(teacher.embed(items), live.embed(items), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("augmentation", "view"), [(VARIED, "independent"), (Augmentation(rotate=5), "same")]
)
def test_views_that_do_not_repeat_are_refused(
    live: LiveTeacher, augmentation: Augmentation, view: View
) -> None:
    with pytest.raises(ValueError, match="views repeat themselves: set num_views"):
        CachedTeacher(live, augmentation, seed=0, view=view)


def test_it_is_what_the_teacher_is_without_maps(live: LiveTeacher) -> None:
    teacher = kept(live, VARIED, "same")
    assert (teacher.name, teacher.dim, teacher.classes) == ("live", live.dim, live.classes)
    assert teacher.supplies == {"embedding", "logits"}
    assert not teacher.embed(Items(ROWS, IMAGES[ROWS])).requires_grad
    assert teacher.to("cpu") is teacher


@pytest.mark.parametrize("row", [3, 20])
def test_a_row_it_was_not_asked_about_is_an_error(live: LiveTeacher, row: int) -> None:
    with pytest.raises(IndexError):
        kept(live, VARIED, "clean").embed(Items(torch.tensor([row]), IMAGES[:1]))
