"""Embedding decoded images in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy.data.items import Items
from understudy.data.pixels import Pixels
from understudy.errors import UserError
from understudy.evaluation import embed_pixels
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher


class Network(nn.Module):
    """Counts in train mode, so that a forward pass in the wrong mode shows."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.frozen = nn.BatchNorm1d(2)
        self.frozen.eval()

    def prepare(self, items: Items) -> Tensor:
        assert isinstance(items.content, Tensor)
        return items.content.double().mean((2, 3))

    def embed(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.float())
        return 2 * normed.double()


@pytest.fixture
def pixels() -> Pixels:
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(0, 256, (11, 2, 3, 3), dtype=torch.uint8, generator=generator)
    return Pixels(tensor, torch.arange(11).flip(0) + 100)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 64])
def test_rows_come_in_the_order_asked_for(pixels: Pixels, batch_size: int) -> None:
    rows = torch.tensor([103, 110, 100, 103, 107])
    told: list[tuple[int, int]] = []
    got = embed_pixels(
        Network(),
        pixels,
        rows,
        batch_size=batch_size,
        progress=lambda done, total: told.append((done, total)),
    )
    want = 2 * pixels.tensor.double().mean((2, 3))[110 - rows] / (1 + 1e-5) ** 0.5
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-6, atol=0)
    assert told[-1] == (5, 5)
    assert len(told) == -(-5 // batch_size)


def test_all_rows_by_default_and_numpy_rows(pixels: Pixels) -> None:
    model = Network()
    everything = embed_pixels(model, pixels)
    assert everything.shape == (11, 2)
    assert torch.equal(embed_pixels(model, pixels, np.array([110])), everything[:1])


def test_eval_mode_no_gradient_and_every_mode_put_back(pixels: Pixels) -> None:
    model = Network().train()
    model.frozen.eval()
    statistics = model.norm.running_mean
    assert statistics is not None
    before = statistics.clone()
    got = embed_pixels(model, pixels)
    assert torch.equal(statistics, before)
    assert not got.requires_grad
    assert (model.training, model.norm.training, model.frozen.training) == (True, True, False)


def test_modes_are_put_back_after_an_error(pixels: Pixels) -> None:
    class Broken(Network):
        def embed(self, x: Tensor) -> Tensor:
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        embed_pixels(model, pixels)
    assert model.training


def test_a_teacher_is_given_the_items_themselves(pixels: Pixels) -> None:
    class Teacher:
        def embed(self, items: Items) -> Tensor:
            assert items.views is None
            return torch.stack([items.rows, items.rows**2], 1).half()

    got = embed_pixels(Teacher(), pixels, torch.tensor([101, 108]), batch_size=1)
    assert got.tolist() == torch.tensor([[101, 101**2], [108, 108**2]]).half().float().tolist()


def test_a_model_and_a_live_teacher_give_what_encode_gives() -> None:
    torch.manual_seed(0)
    model = build_embedder({"backbone": "smallconv_8", "dim": 8})
    images = np.random.default_rng(0).integers(0, 256, (7, *model.preprocessing.resize), np.uint8)
    held = Pixels(torch.from_numpy(images)[:, None], torch.arange(7))
    want = torch.from_numpy(model.encode(list(images)))
    torch.testing.assert_close(embed_pixels(model.train(), held, batch_size=3), want, rtol=1e-5, atol=1e-6)
    teacher = LiveTeacher(model, name="teacher")
    torch.testing.assert_close(embed_pixels(teacher, held, batch_size=5), want, rtol=1e-5, atol=1e-6)


def test_no_rows_are_refused(pixels: Pixels) -> None:
    with pytest.raises(UserError, match="no images to embed"):
        embed_pixels(Network(), pixels, torch.empty(0, dtype=torch.int64))
