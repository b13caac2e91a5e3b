"""Stored answers that come with the batches: those of their rows and views, read before they are wanted."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.batches import Batches
from understudy.data.items import Items
from understudy.data.pixels import Pixels
from understudy.data.samplers import BatchStream, Unlabelled
from understudy.data.streaming import AHEAD

ROWS = np.arange(20)
ON_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]


def told(items: Items) -> Mapping[str, Tensor]:
    """Row and view of each item."""
    views = torch.zeros_like(items.rows) if items.views is None else items.views.numbers
    return {"embedding": torch.stack([items.rows, views], 1).float()}


class Asked:
    """Remembers what it was asked, and by whom; about some rows it refuses to speak."""

    def __init__(self, refused: int = -1) -> None:
        self.rows: list[list[int]] = []
        self.threads: set[str] = set()
        self.refused = refused
        self.done = threading.Semaphore(0)

    def __call__(self, items: Items) -> Mapping[str, Tensor]:
        assert items.rows.device.type == "cpu"
        self.rows.append(items.rows.tolist())
        self.threads.add(threading.current_thread().name)
        self.done.release()
        if self.refused in self.rows[-1]:
            raise LookupError(f"row {self.refused}")
        return told(items)


def make(asked: Asked, device: str = "cpu", augmentation: Augmentation | None = None) -> Batches:
    pixels = Pixels(torch.zeros(20, 1, 4, 4, dtype=torch.uint8), torch.from_numpy(ROWS)).to(device)
    stream = BatchStream(Unlabelled(ROWS, 4, seed=0))
    return Batches(
        pixels, np.zeros(20), stream, augmentation=augmentation, device=device, stored={"main": asked}
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augmentation", [Augmentation(rotate=20, num_views=3), Augmentation()])
def test_they_belong_to_the_batch(device: str, augmentation: Augmentation) -> None:
    batches = make(Asked(), device, augmentation=augmentation)
    for _ in range(12):
        batch = next(batches)
        given = batch.taught["main"]["embedding"]
        assert given.device.type == device
        assert torch.equal(given, told(batch.items)["embedding"])
        assert (batch.items.views is None) == augmentation.off


def test_they_are_read_ahead_within_an_epoch_and_by_another_thread() -> None:
    asked = Asked()
    batches = make(asked)
    next(batches)
    for _ in range(1 + AHEAD):
        assert asked.done.acquire(timeout=60)
    assert len(asked.rows) == 1 + AHEAD
    for _ in range(4):  # the last of this epoch
        next(batches)
    assert len(asked.rows) == 5
    assert threading.current_thread().name not in asked.threads


def test_an_error_comes_with_its_own_batch() -> None:
    order = [batch.items.rows.tolist() for batch, _ in zip(make(Asked()), range(4), strict=False)]
    batches = make(Asked(refused=order[2][0]))
    assert [next(batches).items.rows.tolist() for _ in range(2)] == order[:2]
    with pytest.raises(LookupError, match=f"row {order[2][0]}"):
        next(batches)


def test_going_back_forgets_what_was_asked_for() -> None:
    batches = make(Asked())
    start = batches.state_dict()
    first = [next(batches).taught["main"]["embedding"] for _ in range(3)]
    batches.load_state_dict(start)
    again = [next(batches).taught["main"]["embedding"] for _ in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
