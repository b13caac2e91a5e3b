"""Images that are taken ahead of their time are the same images, in the same order, on every way."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import understudy.data.lines as lines_module
from understudy.config import RunConfig, parse
from understudy.data.augmentation import Augmentation
from understudy.data.batches import Batch, Batches
from understudy.data.lines import Lines, as_words
from understudy.data.pixels import Pixels, PixelStream
from understudy.data.samplers import BatchStream, ClassBalanced
from understudy.data.store import pack
from understudy.data.streaming import AHEAD, Stream
from understudy.errors import UserError
from understudy.training.progress import Reporter
from understudy.training.run import execute

CPU = torch.device("cpu")
ROWS = np.arange(10, 34)
LABELS = np.concatenate((np.full(10, -1), np.repeat(np.arange(6), 4)))
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def images(count: int, shape: tuple[int, int, int] = (3, 5, 7)) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )


def padded(held: torch.Tensor) -> Lines:
    """Images each of which has some bytes more than it needs, as a pack holds them."""
    wide = torch.full((len(held), 128), 77, dtype=torch.uint8)
    wide[:, : held[0].numel()] = held.flatten(1)
    channels, height, width = held.shape[1:]
    return Lines(as_words(wide), (channels, height, width), CPU)


def of(lines: Lines, device: str) -> Lines:
    return lines.to(torch.empty(0, device=device).device, None, "never")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [Lines.of, padded])
def test_what_was_asked_for_is_given_in_order_and_stays(
    make: Callable[[torch.Tensor], Lines], device: str
) -> None:
    held = images(50)
    stream = Stream(of(make(held), device))
    generator = torch.Generator().manual_seed(0)
    asked = [torch.randint(0, 50, (count,), generator=generator) for count in [8] * 9 + [3, 11, 1, 8]]
    given = []
    for number, places in enumerate(asked):
        stream.ask(places)
        if number >= AHEAD:
            given.append(stream.give())
    given += [stream.give() for _ in range(AHEAD)]
    for places, found in zip(asked, given, strict=True):
        assert found.device.type == device
        assert found.is_contiguous()
        assert torch.equal(found.cpu(), held[places])
    with pytest.raises(IndexError):
        stream.give()


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_that_is_not_held_is_an_error_where_it_is_given(device: str) -> None:
    pixels = Pixels(images(3), torch.tensor([4, 9, 2])).to(device, "never")
    stream = PixelStream(pixels)
    for rows in ([9], [3], [2, 4]):
        stream.ask(torch.tensor(rows))
    assert torch.equal(stream.give(), pixels.gather(torch.tensor([9])))
    with pytest.raises(IndexError):
        stream.give()
    assert torch.equal(stream.give(), pixels.gather(torch.tensor([2, 4])))


def test_images_on_a_device_are_not_streamed() -> None:
    held = Lines(torch.zeros(2, 3, dtype=torch.uint8, device="meta"), (3, 1, 1), torch.device("meta"))
    with pytest.raises(ValueError, match="from the host's memory, not from meta"):
        Stream(held)


def test_the_thread_ends_with_the_stream() -> None:
    def alive() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("understudy-images")}

    gc.collect()
    before = alive()
    pixels = Pixels(images(6), torch.arange(6)).to("cpu", "never")
    parts = pixels.parts(torch.split(torch.arange(6), 2))
    next(parts)
    (thread,) = alive() - before
    del parts
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resident", ["auto", "always", "never"])
def test_parts_are_the_items_of_their_rows(device: str, resident: Any) -> None:
    held, rows = images(23), torch.randperm(23, generator=torch.Generator().manual_seed(2)) + 5
    for pixels in (
        Pixels(held, rows).to(device, resident),
        Pixels(padded(held), rows[:9], torch.arange(9) * 2).to(device, resident),
    ):
        assert pixels.streamed == (resident == "never")
        wanted = torch.split(pixels.rows.flip(0), 4)
        found = list(pixels.parts(wanted))
        assert [part.rows.tolist() for part in found] == [part.tolist() for part in wanted]
        for part, expected in zip(found, wanted, strict=True):
            assert part.content.device.type == device
            assert torch.equal(part.content, pixels.gather(expected))
        assert list(pixels.parts(iter([]))) == []


def test_mapped_images_are_read_into_memory_only_when_told() -> None:
    """The lines of a pack on the CPU: where they are, copied, or streamed."""
    held = padded(images(9))
    pixels = Pixels(held, torch.arange(4) + 3, torch.tensor([8, 0, 2, 5]))
    assert pixels.to("cpu") is pixels
    assert pixels.to("cpu", "never")._lines.words is held.words
    moved = pixels.to("cpu", "always")
    assert len(moved._lines) == 4
    assert torch.equal(moved.tensor, pixels.tensor)
    assert moved.to("cpu", "always") is moved


def test_what_can_never_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "available_memory", lambda: 300)
    pixels = Pixels(padded(images(9)), torch.arange(9), torch.arange(9))
    with pytest.raises(
        UserError, match=r"data.resident is 'always', and the images take 0.0 GB of the 0.0 GB"
    ):
        pixels.to("cpu", "always")


class Choosy(ClassBalanced):
    """Remembers, with each plan of an epoch, how many batches had been used by then."""

    used = 0
    told: list[tuple[int, int]]

    def plan(self, epoch: int) -> np.ndarray:
        self.told.append((epoch, self.used))
        return super().plan(epoch)


def make(pixels: Pixels, device: str = "cpu") -> tuple[Batches, Choosy]:
    sampler = Choosy(ROWS, LABELS, 2, 2, replacement=False, seed=2)
    sampler.told = []
    stream = BatchStream(sampler)
    return Batches(pixels, LABELS, stream, augmentation=Augmentation(rotate=9), device=device), sampler


def take(batches: Batches, sampler: Choosy, count: int) -> list[Batch]:
    taken = []
    for _ in range(count):
        taken.append(next(batches))
        sampler.used += 1
    return taken


def same(one: Batch, other: Batch) -> None:
    assert (one.step, one.counts) == (other.step, other.counts)
    assert one.items.views is not None
    assert other.items.views is not None
    for mine, theirs in (
        (one.items.content, other.items.content),
        (one.items.rows, other.items.rows),
        (one.items.views.geometry(), other.items.views.geometry()),
        (one.labels, other.labels),
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("device", DEVICES)
def test_streamed_batches_are_the_resident_ones(device: str) -> None:
    pixels = Pixels(images(24), torch.from_numpy(ROWS).flip(0))
    found = [take(*make(pixels.to(device, kind), device), 20) for kind in ("always", "never")]
    for one, other in zip(*found, strict=True):
        same(one, other)


def test_no_epoch_is_planned_before_it_begins_and_a_stream_resumes() -> None:
    """A sampler that mines with the student, or keeps state, must not be asked ahead of its time."""
    pixels = Pixels(images(24), torch.from_numpy(ROWS)).to("cpu", "never")
    first, sampler = make(pixels)
    per_epoch = len(sampler)
    assert per_epoch > AHEAD
    whole = take(first, sampler, 3 * per_epoch + 1)
    assert sampler.told == [(epoch, epoch * per_epoch) for epoch in range(4)]
    for at in (1, per_epoch - 1, per_epoch, per_epoch + 2):
        before, its = make(pixels)
        take(before, its, at)
        after, others = make(pixels)
        take(after, others, 2)  # what was asked for already is forgotten
        after.load_state_dict(before.state_dict())
        for expected, found in zip(whole[at:], take(after, others, per_epoch), strict=False):
            same(found, expected)


def test_a_run_that_streams_ends_at_the_same_bits(
    tmp_path: Path, make_images: Callable[..., Path], settings: Callable[..., dict[str, Any]]
) -> None:
    data = make_images(tmp_path / "images")
    pack(data, resize=(16, 16), mode="squash", channels=1, interpolation="bilinear")
    written = []
    for resident in ("auto", "always", "never"):
        value = settings(data={"source": str(data), "resident": resident}, evaluation={"batch_size": 5})
        run = execute(parse(RunConfig, value, where="test"), tmp_path / resident)
        written.append((run.metrics, (run.path / "model" / "model.safetensors").read_bytes()))
    assert written[0] == written[1] == written[2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graph", ["auto", "off"])
def test_on_a_gpu_what_does_not_fit_is_streamed_and_said(
    tmp_path: Path,
    settings: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    graph: str,
) -> None:
    """The thread works on while a graph is recorded, and the recorded batch's memory is its own."""
    value = settings(device="cuda", cuda_graph=graph, precision="fp32", steps=12, log_every=1)
    config = parse(RunConfig, value, where="test")
    losses = []
    for share in (lines_module.RESIDENT_SHARE, 0.0):
        monkeypatch.setattr(lines_module, "RESIDENT_SHARE", share)
        run = execute(config, tmp_path / str(share), reporter=Reporter())
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
        said = "48 images take more than 60% of the memory that is free on 'cuda"
        assert (said in capsys.readouterr().err) == (share == 0.0)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
