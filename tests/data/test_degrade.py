"""Images of lower quality: each step against a reference, each strength a function of seed, row and view."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from understudy.data import Augmentation, Items, Views
from understudy.data.degradation import Degradation
from understudy.data.degrade import Degrader, blurring, degrade, enlarging, shrinking


def noise(count: int = 4, channels: int = 3, size: tuple[int, int] = (24, 40)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, *size), generator=generator).to(torch.uint8)


def items(content: Tensor, rows: list[int], numbers: list[int] | None = None, **augmentation: int) -> Items:
    views = None
    if numbers is not None:
        recipe = Augmentation(rotate=5, **augmentation)
        views = Views(recipe, 0, torch.tensor(rows), torch.tensor(numbers))
    return Items(torch.tensor(rows), content, views)


@pytest.mark.parametrize(("side", "share"), [(40, 0.25), (37, 0.33), (64, 0.9), (50, 0.03), (20, 1.0)])
def test_resizing_is_torch_s_own(side: int, share: float) -> None:
    left = max(1, round(side * share))
    picture = torch.eye(side)[None, None]
    small = F.interpolate(picture, (left, side), mode="bilinear", antialias=True)[0, 0]
    large = F.interpolate(small[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
    down, up = shrinking(side, torch.tensor([share])), enlarging(side, torch.tensor([share]))
    assert torch.allclose(down[0, :left], small, atol=1e-5)
    assert torch.equal(down[0, left:], down[0, left - 1].expand(side - left, side))
    assert torch.allclose((up @ down)[0], large, atol=1e-5)


def test_a_bound_of_the_shares_saves_work_and_changes_nothing() -> None:
    scale = torch.tensor([0.1, 0.3, 0.22, 0.3])
    assert shrinking(40, scale, 0.3).shape == (4, 12, 40)
    assert torch.equal(degrade(noise(), scale=scale, most=0.3), degrade(noise(), scale=scale))


def test_the_blur_is_a_gaussian() -> None:
    matrix = blurring(21, torch.tensor([2.0, 0.0]))
    assert torch.equal(matrix[1], torch.eye(21))
    assert torch.allclose(matrix.sum(2), torch.ones(2, 21))
    weights = [math.exp(-(distance**2) / 8) for distance in range(-10, 11)]
    assert np.allclose(matrix[0, 10].numpy(), np.array(weights) / sum(weights), atol=1e-6)
    place = torch.arange(21.0)
    variance = (matrix[0, 10] * (place - 10).square()).sum().item()
    assert variance == pytest.approx(4.0, rel=1e-3)


def test_an_image_blurred_and_halved_by_hand() -> None:
    image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    image[..., 2:] = 200
    # a row 0 0 200 200 becomes (0·3 + 0·3 + 200)/7 and its mirror; brought back in steps of a quarter
    low, high = 200 / 7, 200 * 6 / 7
    row = [low, 0.75 * low + 0.25 * high, 0.25 * low + 0.75 * high, high]
    found = degrade(image, scale=torch.tensor([0.5]))[0, 0]
    assert found.tolist() == [[round(value) for value in row]] * 4


def test_steps_come_one_after_the_other() -> None:
    content = noise(1)
    scale, blur, quality = torch.tensor([0.5]), torch.tensor([1.5]), torch.tensor([30])
    alone = [degrade(content, blur=blur), degrade(content, scale=scale), degrade(content, quality=quality)]
    every = degrade(content, scale=scale, blur=blur, quality=quality)
    assert every.shape == content.shape
    assert every.dtype == torch.uint8
    assert len({step.numpy().tobytes() for step in [content, every, *alone]}) == 5
    detail = [(image.float() - image.float().mean()).square().mean().item() for image in [*alone, every]]
    assert detail[3] < min(detail[:3])


def test_nothing_is_done_where_nothing_is_asked() -> None:
    content = noise()
    assert torch.equal(degrade(content), content)
    ones = torch.ones(4)
    assert torch.equal(degrade(content, scale=ones, blur=0 * ones), content)
    same = items(content, [1, 2, 3, 4])
    assert Degrader(Degradation(), 0)(same) is same


def test_other_content_is_refused() -> None:
    for content in (noise().float(), noise()[0], ["a text"]):
        with pytest.raises(ValueError, match="uint8"):
            degrade(content)  # type: ignore[arg-type]


RANGES = Degradation(scale=(0.2, 0.8), blur=(0.0, 2.0), jpeg=(10, 40))


def test_a_view_of_an_image_is_degraded_alike_in_any_batch() -> None:
    worse = Degrader(RANGES, seed=3)
    content = noise(1).expand(4, -1, -1, -1)
    batch = worse(items(content, [5, 6, 5, 9], [0, 0, 7, 1])).content
    other = worse(items(content, [9, 1, 5, 5], [1, 4, 7, 0])).content
    assert torch.equal(batch[[3, 2, 0]], other[[0, 2, 3]])
    alone = worse(items(content[:1], [6], [0])).content
    assert torch.equal(batch[1:2], alone)
    assert len({image.numpy().tobytes() for image in batch}) == 4  # other rows, other views: other strengths
    assert not torch.equal(
        Degrader(RANGES, seed=4)(items(content, [5, 6, 5, 9], [0, 0, 7, 1])).content, batch
    )


def test_a_finite_set_of_views_comes_again_and_a_clean_image_is_view_0() -> None:
    worse = Degrader(RANGES, seed=0)
    content = noise(1)
    again = [worse(items(content, [2], [number], num_views=3)).content for number in (1, 4, 7, 2)]
    assert torch.equal(again[0], again[1])
    assert torch.equal(again[0], again[2])
    assert not torch.equal(again[0], again[3])
    clean, first = worse(items(content, [2])), worse(items(content, [2], [0]))
    assert torch.equal(clean.content, first.content)
    assert clean.views is None


def test_strengths_fill_their_ranges() -> None:
    rows = torch.arange(4000)
    scale, blur, quality = Degrader(RANGES, seed=0).strengths(rows, torch.zeros_like(rows))
    assert scale is not None
    assert blur is not None
    assert quality is not None
    assert 0.2 <= scale.min() < 0.21
    assert 0.79 < scale.max() <= 0.8
    assert scale.log().mean().item() == pytest.approx(math.log(0.4), abs=0.02)  # even in the logarithm
    assert blur.min() < 0.01
    assert blur.max() > 1.99
    assert sorted(set(quality.tolist())) == list(range(10, 41))
    ends = torch.stack((scale, blur, quality.float())).corrcoef() - torch.eye(3)
    assert ends.abs().max() < 0.06  # drawn independently


def test_one_number_is_a_range_and_ranges_go_up() -> None:
    one = Degradation.model_validate({"scale": 0.25, "blur": 2, "jpeg": 30})
    assert (one.scale, one.blur, one.jpeg) == ((0.25, 0.25), (2.0, 2.0), (30, 30))
    assert not one.off
    for wrong in ({"scale": 0}, {"scale": [0.9, 0.5]}, {"jpeg": 0}, {"blur": -1}, {"jpg": 3}):
        with pytest.raises(ValidationError):
            Degradation.model_validate(wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_degradation_is_the_plain_one() -> None:
    worse = Degrader(RANGES, seed=3)
    given = items(noise(), [5, 6, 5, 9], [0, 0, 7, 1]).to("cuda")
    plain = worse(given).content
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = worse(given).content
    graph.replay()
    assert torch.equal(recorded, plain)
    away = (plain.cpu().int() - worse(given.to("cpu")).content.int()).abs()
    assert away.float().mean() < 0.1  # devices sum in another order, which JPEG's rounding may show
