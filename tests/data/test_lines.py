"""Lines of bytes: taken, padded, moved to a device or kept off it."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

import understudy.data.lines as module
from understudy.data.lines import Lines, as_words
from understudy.data.pixels import Pixels
from understudy.data.store.mapping import map_files

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 2), (1, 3, 2), (3, 5, 7)])
def test_images_of_any_size_are_taken(shape: tuple[int, int, int]) -> None:
    images = torch.randint(0, 256, (9, *shape), dtype=torch.uint8)
    lines = Lines.of(images)
    assert lines.words.data_ptr() == images.data_ptr()
    places = torch.tensor([8, 0, 0, 3])
    assert torch.equal(lines.take(places), images[places])
    assert torch.equal(lines.all(), images)
    assert torch.equal(Lines.of(images[1:]).take(places[1:]), images[1:][places[1:]])
    assert torch.equal(Lines.of(images.transpose(2, 3)).all(), images.transpose(2, 3))


def test_chosen_images_are_copied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", 40)
    padded = torch.randint(0, 256, (7, 16), dtype=torch.uint8)
    places = torch.tensor([5, 2, 2, 6, 0])
    moved = Lines(as_words(padded), (3, 2, 2), CPU).to(CPU, places)
    assert torch.equal(moved.all().flatten(1), padded[places, :12])


@pytest.mark.parametrize("fixed", [True, False])
def test_files_are_one_stretch_of_memory(
    tmp_path: Path, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fixed:
        monkeypatch.setattr(mmap, "PAGESIZE", 4 * mmap.PAGESIZE)
    whole = np.random.default_rng(0).integers(0, 256, 5 * 4096 + 77, dtype=np.uint8)
    files = []
    for start, end in ((0, 4096), (4096, 4 * 4096), (4 * 4096, len(whole))):
        files.append(tmp_path / f"{start}")
        whole[start:end].tofile(files[-1])
    assert np.array_equal(map_files(files).numpy(), whole)
    assert np.array_equal(map_files(files[2:]).numpy(), whole[4 * 4096 :])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [0.6, 0.0])
def test_on_a_gpu_images_are_resident_or_sent(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESIDENT_SHARE", share)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 4000)
    images = torch.randint(0, 256, (50, 3, 9, 9), dtype=torch.uint8)
    rows = torch.randperm(50) + 100
    padded = torch.zeros(50, 256, dtype=torch.uint8)
    padded[:, :243] = images.flatten(1)
    places = torch.randperm(50)[:20]
    for held, expected in (
        (Pixels(images, rows), images),
        (Pixels(Lines(as_words(padded), (3, 9, 9), CPU), rows[:20], places), images[places]),
    ):
        moved = held.to("cuda")
        assert (moved.device.type, len(moved)) == ("cuda", len(held))
        for _ in range(20):
            some = torch.randint(0, len(held), (8,))
            given = moved.gather(held.rows[some])
            assert given.device.type == "cuda"
            assert torch.equal(given.cpu(), expected[some])
        assert torch.equal(moved.gather(moved.rows.cuda()).cpu(), expected)
        assert torch.equal(moved.tensor.cpu(), expected)
        assert torch.equal(moved.to("cpu").tensor, expected)
