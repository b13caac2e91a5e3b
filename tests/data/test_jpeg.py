"""Compression without a file, held against Pillow's JPEG and against the transform written out."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from understudy.data.jpeg import compressed

SIZES = [(64, 96), (50, 61), (37, 64)]  # whole blocks, and sides that are none


def pictures(size: tuple[int, int], channels: int, count: int = 4) -> Tensor:
    """Smooth colours, a hard-edged box and a little noise."""
    generator = np.random.default_rng(0)
    height, width = size
    images = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        image = smooth + generator.normal(0, 6, smooth.shape)
        image[height // 3 : height // 2, width // 4 : width // 2] = generator.integers(0, 256, 3)
        picture = Image.fromarray(image.clip(0, 255).astype(np.uint8))
        images.append(np.asarray(picture.convert("L" if channels == 1 else "RGB")))
    stack = np.stack(images).reshape(count, height, width, channels)
    return torch.from_numpy(stack.transpose(0, 3, 1, 2).copy())


def through_pillow(image: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "JPEG", quality=quality)
    pixels = np.asarray(Image.open(file)).reshape(*image.shape[1:], -1)
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


@pytest.mark.parametrize("quality", [5, 20, 50, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_pillow_s_to_less_than_a_level(size: tuple[int, int], channels: int, quality: int) -> None:
    images = pictures(size, channels)
    wanted = torch.stack([through_pillow(image, quality) for image in images]).float()
    found = compressed(images, torch.full((len(images),), quality))
    away = (found - wanted).abs()
    lost = (wanted - images).abs().mean()
    assert away.mean() < 0.7
    assert away.mean() < 0.25 * lost
    assert (away > 2).float().mean() < 0.06


def test_every_image_has_its_own_quality() -> None:
    images = pictures((32, 48), 3)
    quality = torch.tensor([10, 90, 10, 50])
    together = compressed(images, quality)
    for image, one, found in zip(images, quality, together, strict=True):
        assert torch.equal(compressed(image[None], one[None])[0], found)
    lost = (together - images).abs().mean((1, 2, 3))
    assert lost[1] < lost[3] < lost[[0, 2]].min()


def test_a_grey_block_is_what_the_transform_written_out_gives() -> None:
    image = pictures((8, 8), 1, 1)
    steps = np.array([16, 11, 10, 16, 24, 40, 51, 61])  # the first row of Annex K's table of luminance
    light = image[0, 0].double().numpy() - 128

    def wave(u: int, x: int) -> float:
        return (math.sqrt(1 / 8) if u == 0 else 0.5) * math.cos((2 * x + 1) * u * math.pi / 16)

    first_row = [
        sum(light[y, x] * wave(0, y) * wave(v, x) for y in range(8) for x in range(8)) for v in range(8)
    ]
    back = compressed(image, torch.tensor([50]))[0, 0].double().numpy() - 128
    kept = [sum(back[y, x] * wave(0, y) * wave(v, x) for y in range(8) for x in range(8)) for v in range(8)]
    assert np.allclose(kept, np.round(np.array(first_row) / steps) * steps, atol=1.5)  # pixels are rounded
    assert not np.allclose(first_row, kept, atol=1.5)


def test_the_best_quality_costs_next_to_nothing_and_flat_images_less() -> None:
    grey = pictures((40, 40), 1)
    assert (compressed(grey, torch.full((4,), 100)) - grey).abs().max() <= 1
    flat = torch.full((1, 3, 20, 20), 128, dtype=torch.uint8)
    assert torch.equal(compressed(flat, torch.tensor([1])), flat.float())


def test_results_are_whole_numbers_in_range() -> None:
    noise = torch.randint(0, 256, (2, 3, 24, 24), generator=torch.Generator().manual_seed(0))
    found = compressed(noise.to(torch.uint8), torch.tensor([1, 60]))
    assert torch.equal(found, found.round())
    assert found.min() >= 0
    assert found.max() <= 255
