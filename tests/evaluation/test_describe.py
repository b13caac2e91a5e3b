"""Mirror images and scales, each look written out."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.data.items import Items
from understudy.data.pixels import Pixels
from understudy.errors import UserError
from understudy.evaluation.describe import THREE_SCALES, Describing
from understudy.evaluation.embed import embed_pixels
from understudy.models import Embedder, build_embedder
from understudy.teachers import LiveTeacher


@pytest.fixture(scope="module")
def model() -> Embedder:
    torch.manual_seed(0)
    return build_embedder({"backbone": "smallconv_8", "dim": 8, "input_size": (32, 24)})


@pytest.fixture
def pixels() -> Pixels:
    generator = torch.Generator().manual_seed(0)
    return Pixels(
        torch.randint(0, 256, (5, 1, 32, 24), dtype=torch.uint8, generator=generator), torch.arange(5)
    )


def by_hand(model: Embedder, pixels: Pixels, scales: tuple[float, ...], flip: bool) -> Tensor:
    x = model.prepare(pixels.items(torch.arange(5)))
    looks = []
    with torch.no_grad():
        for scale in scales:
            size = (math.floor(32 * scale), math.floor(24 * scale))
            small = x if scale == 1 else F.interpolate(x, size, mode="bilinear", align_corners=False)
            mirrored = small[..., torch.arange(small.shape[-1] - 1, -1, -1)]
            looks += [
                F.normalize(model.eval().embed(seen), dim=1)
                for seen in ([small, mirrored] if flip else [small])
            ]
    mean = sum(looks, torch.zeros_like(looks[0])) / len(looks)
    unit: Tensor = mean / mean.norm(dim=1, keepdim=True)
    return unit


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5), (0.5,)])
def test_the_mean_of_the_looks(
    model: Embedder, pixels: Pixels, scales: tuple[float, ...], flip: bool
) -> None:
    got = embed_pixels(model, pixels, batch_size=2, describing=Describing(flip, scales))
    torch.testing.assert_close(got, by_hand(model, pixels, scales, flip), rtol=1e-5, atol=1e-6)


def test_a_mirror_image_is_described_as_its_original(model: Embedder, pixels: Pixels) -> None:
    mirrored = Pixels(pixels.tensor.flip(-1), pixels.rows)
    looks = Describing(flip=True, scales=(1.0, 0.5))
    got, want = (embed_pixels(model, some, describing=looks) for some in (mirrored, pixels))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    plain = embed_pixels(model, pixels)
    assert not torch.allclose(embed_pixels(model, mirrored), plain, atol=1e-3)


def test_three_scales_are_the_usual_ones() -> None:
    assert pytest.approx((1, 0.70710678, 0.5)) == THREE_SCALES


class Fixed(nn.Module):
    """As a vision transformer: a weight for each place of the input."""

    config = SimpleNamespace(backbone="vit_fixed")

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(24 * 32, 8)

    def prepare(self, items: Items) -> Tensor:
        assert isinstance(items.content, Tensor)
        return items.content.float() / 255

    def embed(self, x: Tensor) -> Tensor:
        vectors: Tensor = self.head(x.flatten(1))
        return vectors


def test_a_fixed_input_size_is_refused_by_name(pixels: Pixels) -> None:
    with pytest.raises(UserError, match=r"'vit_fixed' does not take inputs of 22×16 \(scale 0.7071\)"):
        embed_pixels(Fixed(), pixels, describing=Describing(scales=THREE_SCALES))
    assert embed_pixels(Fixed(), pixels, describing=Describing(flip=True)).shape == (5, 8)


def test_mistakes_are_one_sentence(model: Embedder, pixels: Pixels) -> None:
    for scales in ((), (1.0, 0.0), (-1.0,), (float("nan"),)):
        with pytest.raises(UserError, match="scales are numbers above 0"):
            Describing(scales=scales)
    with pytest.raises(UserError, match="LiveTeacher renders its images itself"):
        embed_pixels(LiveTeacher(model), pixels, describing=Describing(flip=True))
