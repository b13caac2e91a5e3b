"""Decoded images in memory: order, unreadable files, memory, progress, interruption."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import understudy.data.decoding as module
from understudy.data.augmentation import Augmentation
from understudy.data.decoding import decode_all
from understudy.data.images import UnreadableImageError
from understudy.data.memory import available_memory
from understudy.data.pixels import Pixels
from understudy.data.views import Views
from understudy.errors import UserError


def read(row: int) -> Image.Image:
    if row % 100 == 13:
        raise UnreadableImageError(f"'img:{row}.png' is empty (0 bytes)", "replace or remove it")
    return Image.new("L", (5 + row % 3, 6), row % 256)


def test_images_are_found_by_their_rows() -> None:
    rows = np.random.default_rng(0).permutation(400)
    rows = rows[rows % 100 != 13]
    pixels = decode_all(read, rows, resize=(4, 3), channels=1, workers=3)
    assert pixels.tensor.shape == (len(rows), 1, 4, 3)
    assert pixels.rows.tolist() == rows.tolist()
    asked = torch.tensor([7, 399, 7, 0])
    assert pixels.gather(asked)[:, 0, 0, 0].tolist() == [7, 399 % 256, 7, 0]
    views = Views(Augmentation(rotate=5), 0, asked, torch.arange(4))
    items = pixels.items(asked, views)
    assert torch.equal(items.rows, asked)
    assert items.views is not None
    assert pixels.to("cpu").gather(asked).equal(items.content)


def test_a_row_that_is_not_held_is_an_error_and_not_another_image() -> None:
    pixels = decode_all(read, [2, 5], resize=(2, 2), channels=1)
    for row in (3, 6):
        with pytest.raises((IndexError, RuntimeError)):
            pixels.gather(torch.tensor([row]))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        Pixels(torch.zeros(2, 1, 3, 3), torch.arange(2))
    with pytest.raises(ValueError, match="uint8"):
        Pixels(torch.zeros(2, 1, 3, 3, dtype=torch.uint8), torch.arange(3))


def test_unreadable_images_are_counted_and_the_first_ones_named() -> None:
    with pytest.raises(UserError) as caught:
        decode_all(read, range(500), resize=(2, 2))
    assert str(caught.value) == (
        "5 of 500 images cannot be read ('img:13.png' is empty (0 bytes); 'img:113.png' is empty (0 bytes); "
        "'img:213.png' is empty (0 bytes); and 2 more): mend or remove them, or skip unreadable images "
        "(skip_unreadable)"
    )
    with pytest.raises(
        UserError, match=r"1 of 2 images cannot be read \('img:13.png' is empty \(0 bytes\)\): mend"
    ):
        decode_all(read, [12, 13], resize=(2, 2))


def test_a_want_of_memory_is_no_fault_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pass: an image that is left out for it would be missing from a run without need."""

    def full(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("understudy.data.decoding.decode", full)
    with pytest.raises(MemoryError):
        decode_all(read, range(5), resize=(2, 2), channels=1, skip_unreadable=True)


def test_unreadable_images_are_skipped_when_told() -> None:
    said: list[str] = []
    pixels = decode_all(read, range(200), resize=(2, 2), channels=1, skip_unreadable=True, say=said.append)
    (sentence,) = said
    assert sentence.startswith(
        "2 of 200 images cannot be read ('img:13.png' is empty (0 bytes); 'img:113.png' "
    )
    assert sentence.endswith(") and are left out")
    assert pixels.rows.tolist() == [row for row in range(200) if row not in (13, 113)]
    assert pixels.gather(torch.tensor([114]))[0, 0, 0, 0] == 114
    with pytest.raises(UserError, match=r"not one of 2 images can be read: 'img:13.png"):
        decode_all(read, [13, 113], resize=(2, 2), skip_unreadable=True)


def test_what_does_not_fit_into_memory_is_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 2_000_000_000)
    with pytest.raises(UserError) as caught:
        decode_all(lambda _: pytest.fail("read"), range(20_000), resize=(224, 224))
    assert str(caught.value) == (
        "20,000 decoded images of 224 × 224 × 3 need 3.0 GB of memory and 2.0 GB are free: choose a smaller "
        "resize, or pack them (understudy prepare --pack), which reads them from the disk as they are needed"
    )
    monkeypatch.setattr(module, "available_memory", lambda: None)
    assert len(decode_all(read, range(3), resize=(2, 2))) == 3


def test_the_available_memory_is_plausible() -> None:
    have = available_memory()
    assert have is None or 2**20 < have < 2**50


def test_progress_comes_from_the_calling_thread_and_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        calls.append((done, total))

    decode_all(read, range(14, 100), resize=(2, 2), progress=progress)
    assert calls[-1] == (86, 86)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) > 2


def test_an_interrupt_leaves_no_thread_and_starts_no_more_work() -> None:
    begun: list[int] = []

    def slow(row: int) -> Image.Image:
        begun.append(row)
        time.sleep(0.001)
        return Image.new("L", (2, 2))

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        decode_all(slow, range(5000), resize=(2, 2), workers=2, progress=interrupt)
    assert len(begun) < 1000
    assert set(threading.enumerate()) <= before


def test_no_rows_give_no_images() -> None:
    assert len(decode_all(read, [], resize=(3, 3))) == 0
