"""Views as recipes: pure functions of (seed, row, number), with parameters in their ranges."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from understudy.data.augmentation import Augmentation
from understudy.data.items import Items
from understudy.data.views import LUMA, Views

EVERYTHING = Augmentation(
    crop_scale=(0.3, 0.9),
    crop_ratio=(0.75, 4 / 3),
    flip=0.5,
    rotate=20,
    translate=0.1,
    zoom=(0.8, 1.25),
    shear=10,
    brightness=0.4,
    contrast=0.3,
    saturation=0.5,
    hue=0.1,
    grayscale=0.2,
    erase=0.5,
)


def views(augmentation: Augmentation, n: int = 500, seed: int = 3) -> Views:
    return Views(augmentation, seed, torch.arange(n) * 3, torch.arange(n) + 1000)


def recipe(view: Views) -> tuple[torch.Tensor, ...]:
    return view.geometry(1.5, (0.9, 0.8)), view.colour(), view.erasing()


def same(first: Views, second: Views) -> bool:
    return all(torch.equal(a, b) for a, b in zip(recipe(first), recipe(second), strict=True))


def test_a_view_does_not_depend_on_its_batch() -> None:
    whole = views(EVERYTHING)
    chosen = torch.tensor([400, 7, 7, 123])
    for part, all_parts in zip(recipe(whole[chosen]), recipe(whole), strict=True):
        assert torch.equal(part, all_parts[chosen])


def test_seed_row_and_number_each_give_another_view() -> None:
    whole = views(EVERYTHING, n=4)
    others = (
        Views(EVERYTHING, 4, whole.rows, whole.numbers),
        Views(EVERYTHING, 3, whole.rows + 1, whole.numbers),
        Views(EVERYTHING, 3, whole.rows, whole.numbers + 1),
    )
    for other in others:
        assert (other.geometry() != whole.geometry()).flatten(1).any(dim=1).all()


def test_a_finite_number_of_views_repeats() -> None:
    few = EVERYTHING.model_copy(update={"num_views": 4})
    rows = torch.full((12,), 9)
    geometry = Views(few, 0, rows, torch.arange(12)).geometry()
    assert torch.equal(geometry[:4], geometry[4:8])
    assert torch.equal(geometry[:4], geometry[8:])
    assert len({tuple(view.flatten().tolist()) for view in geometry}) == 4


def test_an_independent_view_is_another_one() -> None:
    whole = views(EVERYTHING)
    other = whole.independent()
    assert (other.geometry() != whole.geometry()).flatten(1).any(dim=1).all()
    assert same(other, whole.independent())
    angles = torch.stack((whole._uniform((0, 1))[:, 0], other._uniform((0, 1))[:, 0]))
    assert torch.corrcoef(angles)[0, 1].abs() < 0.2


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_independent_view_stays_in_a_finite_set(count: int) -> None:
    whole = views(EVERYTHING.model_copy(update={"num_views": count}))
    other = whole.independent()
    assert other.seed == whole.seed
    if count == 1:
        assert same(whole, other)
    else:
        assert (other.numbers % count != whole.numbers % count).all()
        assert len(set((other.numbers % count).tolist())) == count


def test_items_are_seen_the_same_clean_or_independently() -> None:
    whole = views(EVERYTHING, n=3)
    items = Items(whole.rows, torch.zeros(3, 1, 2, 2, dtype=torch.uint8), whole)
    assert items.seen("same") is items
    assert items.seen("clean").views is None
    independent = items.seen("independent").views
    assert independent is not None
    assert same(independent, whole.independent())
    assert Items(items.rows, items.content).seen("independent").views is None
    part = items[1:]
    assert part.rows.tolist() == [3, 6]
    assert part.views is not None
    assert same(part.views, whole[1:])


class Recorded(torch.Tensor):
    """Notes whether a copy to another place is waited for."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.to:
            unwaited.append((kwargs or {}).get("non_blocking", False))
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


unwaited: list[bool] = []


def test_what_goes_to_the_host_is_waited_for() -> None:
    """A copy from a GPU into the host's memory that nobody waits for is read before it is there."""
    rows, content = torch.arange(2).as_subclass(Recorded), torch.zeros(2, 1, 1, 1).as_subclass(Recorded)
    items = Items(rows, content, Views(Augmentation(), 0, rows, rows))
    for device, expected in (("cpu", False), (torch.device("cpu"), False), ("meta", True)):
        unwaited.clear()
        items.to(device)
        assert unwaited == [expected] * 4


def test_nothing_on_is_the_identity() -> None:
    off = views(Augmentation())
    identity = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    assert torch.equal(off.geometry(), identity.expand(500, 2, 3))
    gain, offset = off.tone()
    assert torch.equal(gain, torch.ones(500))
    assert torch.equal(offset, torch.zeros(500))
    assert torch.allclose(off.colour(), torch.eye(3, 4), atol=1e-6)
    assert not off.erasing().any()


def test_a_crop_keeps_its_share_and_stays_inside() -> None:
    theta = views(Augmentation(crop_scale=(0.3, 0.6), crop_ratio=(0.75, 4 / 3))).geometry(aspect=2.0)
    wide, high, x, y = theta[:, 0, 0], theta[:, 1, 1], theta[:, 0, 2], theta[:, 1, 2]
    area, ratio = wide * high, wide / high
    assert 0.3 - 1e-6 < area.min() < 0.31
    assert 0.59 < area.max() < 0.6 + 1e-6
    assert 0.75 - 1e-6 < ratio.min() < 0.76
    assert 1.31 < ratio.max() < 4 / 3 + 1e-6
    assert (x.abs() + wide).max() <= 1 + 1e-6
    assert (y.abs() + high).max() <= 1 + 1e-6
    assert x.std() > 0.1
    assert torch.equal(theta[:, 0, 1], torch.zeros(500))


def test_each_movement_alone_stays_in_its_range() -> None:
    turned = views(Augmentation(rotate=20)).geometry()
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert -20 <= angle.min() < -19
    assert 19 < angle.max() <= 20
    assert torch.allclose(torch.linalg.det(turned[:, :, :2]), torch.ones(500), atol=1e-5)
    shifted = views(Augmentation(translate=0.1)).geometry()[:, :, 2]
    assert 0.19 < shifted.abs().max() <= 0.2  # a tenth of a side that goes from -1 to 1
    zoomed = 1 / views(Augmentation(zoom=(0.5, 2.0))).geometry()[:, 0, 0]
    assert 0.5 - 1e-6 < zoomed.min() < 0.51
    assert 1.95 < zoomed.max() < 2 + 1e-6
    assert abs(float(zoomed.log().mean())) < 0.06  # as often in as out
    sheared = views(Augmentation(shear=45)).geometry()[:, 0, 1]
    assert 0.97 < sheared.abs().max() <= 1
    flipped = views(Augmentation(flip=0.25), n=4000).geometry()[:, 0, 0]
    assert set(flipped.tolist()) == {-1.0, 1.0}
    assert abs(float((flipped < 0).float().mean()) - 0.25) < 0.03


def test_turning_one_thing_on_leaves_the_others_as_they_were() -> None:
    alone = views(Augmentation(rotate=20)).geometry()
    with_shift = views(Augmentation(rotate=20, translate=0.2, brightness=0.2, erase=1)).geometry()
    assert torch.equal(alone[:, :, :2], with_shift[:, :, :2])


def test_colour_is_the_composition_of_its_steps() -> None:
    view = views(EVERYTHING, n=200)
    image = torch.rand(3, 17, generator=torch.Generator().manual_seed(0)).double()
    tone = view._uniform((10, 12)).double()
    chroma = view._uniform((12, 15)).double()
    luma = torch.tensor(LUMA, dtype=torch.float64)
    yiq = torch.stack(
        (luma, torch.tensor([0.5959, -0.2746, -0.3213]), torch.tensor([0.2115, -0.5227, 0.3112]))
    )
    for row in range(200):
        x = image * (1 + 0.4 * (2 * tone[row, 0] - 1))
        x = 0.5 + (x - 0.5) * (1 + 0.3 * (2 * tone[row, 1] - 1))
        saturation = 0.0 if chroma[row, 2] < 0.2 else float(1 + 0.5 * (2 * chroma[row, 0] - 1))
        x = saturation * x + (1 - saturation) * (luma @ x)
        turn = 2 * math.pi * 0.1 * float(2 * chroma[row, 1] - 1)
        rotation = torch.tensor(
            [[1, 0, 0], [0, math.cos(turn), -math.sin(turn)], [0, math.sin(turn), math.cos(turn)]]
        ).double()
        x = torch.linalg.inv(yiq) @ rotation @ yiq @ x
        colour = view.colour()[row].double()
        assert torch.allclose(colour[:, :3] @ image + colour[:, 3:], x, atol=2e-5)


def test_an_erased_box_lies_inside_and_has_its_share() -> None:
    box = views(Augmentation(erase=0.5, erase_scale=(0.05, 0.2)), n=4000).erasing()
    erased = box[(box != 0).any(dim=1)]
    assert abs(len(erased) / 4000 - 0.5) < 0.03
    assert box.min() >= 0
    assert box.max() <= 1 + 1e-6
    area = (erased[:, 2] - erased[:, 0]) * (erased[:, 3] - erased[:, 1])
    assert 0.05 - 1e-5 < area.min() < 0.06
    assert 0.19 < area.max() < 0.2 + 1e-5
