"""The teacher sees the good image, the student a degraded one: the losses carry the knowledge across."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from torch import Tensor

from understudy.data import Items
from understudy.evaluation import agreement
from understudy.losses import AbsoluteTeacher, RelativeTeacher, SimilarityKL
from understudy.models import build_embedder

Degrade = Callable[[Image.Image], Image.Image]


def smaller(image: Image.Image) -> Image.Image:
    return image.resize((8, 8), Image.Resampling.BOX).resize(image.size, Image.Resampling.BILINEAR)


def jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=5)
    return Image.open(file).convert("L")


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def images() -> list[Image.Image]:
    """Random smooth pictures: what a blurred eye can still tell apart."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (96, 5, 5), dtype=np.uint8)
    return [Image.fromarray(c).resize((20, 20), Image.Resampling.BICUBIC) for c in coarse]


def stack(pictures: list[Image.Image]) -> Items:
    content = torch.from_numpy(np.stack([np.asarray(p) for p in pictures]))[:, None]
    return Items(torch.arange(len(pictures)), content)


@pytest.mark.parametrize("degrade", [smaller, jpeg, blurred])
@pytest.mark.parametrize("loss", [RelativeTeacher(), AbsoluteTeacher(), SimilarityKL()])
def test_a_student_of_degraded_images_learns_the_order_of_the_good_ones(
    degrade: Degrade, loss: torch.nn.Module
) -> None:
    torch.manual_seed(0)
    student = build_embedder({"backbone": "smallconv_16", "dim": 16, "input_size": (20, 20)})
    good, bad = stack(images()), stack([degrade(picture) for picture in images()])
    assert not torch.equal(good.content, bad.content)
    light = F.adaptive_avg_pool2d(good.content.float(), 4).flatten(
        1
    )  # what the teacher makes of the good image
    target = F.normalize(light - light.mean(), dim=1)

    def seen() -> Tensor:
        student.eval()
        with torch.no_grad():
            return student.embed(student.prepare(bad))

    before = agreement(seen(), target, ks=(5,)).metrics["neighbour_overlap@5"]
    optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
    for _ in range(30):
        student.train()
        optimiser.zero_grad()
        loss(student.embed(student.prepare(bad)), target).backward()
        optimiser.step()
    after = agreement(seen(), target, ks=(5,)).metrics["neighbour_overlap@5"]
    assert after > before + 0.1
