"""Row (e): the loop that published codes train with, and the package's own fed from the same JPEGs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _losses_gpu import Call
from _losses_table import Line
from _throughput_bare import AS_IT_IS, Bare, peak, rates, reset_peak
from _throughput_loop import build, on_labels, train
from _throughput_setting import DIM, PER_CLASS, PHOTOS, Images, Setting
from _throughput_sheet import Group, Work
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from understudy.data.decoding import decode_all
from understudy.data.images import read_image
from understudy.data.lines import Resident
from understudy.losses import MultiSimilarity
from understudy.models import build_embedder

SIDE = 250
_WARM_UP, _ROUND = 5, 4  # seconds, at a round length of 0.4: what lies ready in the queues is used up first


def files_group(setting: Setting, count: int, workers: int) -> Group:
    """Row (e), and row (b) from the same files.

    Args:
        setting: The student and the sizes.
        count: Files.
        workers: Processes that decode for the plain loop.
    """
    plain = Line(
        f"{setting.name}: (e) a plain loop on JPEGs",
        note=f"{workers} processes decode, float32, PIL's transforms",
    )
    mine = Line(f"{setting.name}: (b) on the same JPEGs", "≥ 3 × (e)", 3.0, at_least=True)
    streamed = Line(f"{setting.name}: (b) on the same JPEGs, streamed from the host's memory")

    def lines() -> Iterator[tuple[Line, Work]]:
        with tempfile.TemporaryDirectory() as folder:
            files = write_jpegs(Path(folder), count)
            yield plain, lambda _: plain_loop(setting, files, workers)
            images, rate = decoded(setting, files)
            figures = {"images/s decoded once": rate}
            yield mine, lambda _: {**packaged(setting, images, "× (e)", plain), **figures}
            yield streamed, lambda _: packaged(setting, images, "of those on the device", mine, "never")

    return Group(f"{setting.name}, files", lines)


def write_jpegs(folder: Path, count: int) -> list[Path]:
    """Smooth random pictures of 250 × 250 with a little grain, about as large as photographs of that size."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (64, 12, 12, 3), dtype=np.uint8)
    grain = generator.integers(-12, 13, (SIDE, SIDE, 3))

    def write(number: int) -> Path:
        smooth = Image.fromarray(coarse[number % len(coarse)]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth, dtype=np.int64) + np.roll(grain, 7 * number, axis=1)
        path = folder / f"{number:05d}.jpg"
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        return path

    with ThreadPoolExecutor() as pool:
        return list(pool.map(write, range(count)))


def plain_loop(setting: Setting, files: list[Path], workers: int) -> dict[str, float]:
    """Images/s of a loop with a DataLoader, without mixed precision, in the ordinary memory format."""
    torch.manual_seed(0)
    network = build_embedder({"backbone": setting.student, "dim": DIM, "input_size": setting.size})
    network.to(setting.device).train()
    optimiser, loss = torch.optim.AdamW(network.parameters(), lr=1e-3), MultiSimilarity()
    loader = DataLoader(
        _Jpegs(files, setting.size, network.preprocessing.channels),
        batch_sampler=_Endless(len(files), setting.batch),
        num_workers=workers,
        pin_memory=setting.cuda,
        timeout=60 if workers else 0,
    )
    batches = iter(loader)
    values: list[float] = []

    def step() -> None:
        images, labels = next(batches)
        images, labels = images.to(setting.device), labels.to(setting.device)
        value = loss(network(images)["embedding"], labels)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())  # as loops do that log every step

    reset_peak(setting)
    _for_seconds(step, _WARM_UP * setting.seconds / 0.4)
    found = [
        setting.batch * _for_seconds(step, _ROUND / setting.rounds * setting.seconds / 0.4)
        for _ in range(setting.rounds)
    ]
    return {"images/s": statistics.median(found), "GB at most": peak(setting)}


def decoded(setting: Setting, files: list[Path]) -> tuple[Images, float]:
    """The files, decoded once into the host's memory as a run does it, and how many it were in a second."""
    started = time.perf_counter()
    channels, *resize = setting.shape
    pixels = decode_all(
        lambda row: read_image(files[row]),
        range(len(files)),
        resize=(resize[0], resize[1]),
        channels=channels,
    )
    rate = len(files) / (time.perf_counter() - started)
    return Images(pixels, np.arange(len(files)) // PER_CLASS), rate


def packaged(
    setting: Setting, images: Images, unit: str, beside: Line, resident: Resident = "always"
) -> dict[str, float]:
    """The package's loop on decoded files, shown again and again.

    Args:
        setting: The student and the sizes.
        images: The files, in the host's memory.
        unit: What the first figure is called, the rate beside that of another line.
        beside: That line.
        resident: Whether the images go to the device before the start, or batch by batch.
    """
    pixels = images.pixels.to(setting.device, resident)
    guess = rates(Bare(setting).step(AS_IT_IS), setting.batch, setting, 1)[0]
    found, memory = train(setting, replace(images, pixels=pixels), build(setting, [on_labels()], {}), guess)
    rate = statistics.median(found)
    if not beside.figures:
        raise RuntimeError(f"{rate:,.0f} images/s, but there is nothing beside it")
    return {unit: rate / beside.figures["images/s"], "images/s": rate, "GB at most": memory}


class _Jpegs(Dataset[tuple[torch.Tensor, int]]):
    """Opens a file, crops, flips and normalises it, each time that it is asked for."""

    def __init__(self, files: list[Path], size: tuple[int, int], channels: int) -> None:
        self._files = files
        self._mode = "RGB" if channels == 3 else "L"
        self._transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size, scale=PHOTOS.crop_scale, ratio=PHOTOS.crop_ratio),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * channels, [0.25] * channels),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self._files[index]) as image:
            return self._transform(image.convert(self._mode)), index // PER_CLASS


class _Endless:
    """Batches of whole classes without the pause that an epoch's end is."""

    def __init__(self, images: int, batch: int) -> None:
        self._classes, self._batch = images // PER_CLASS, batch
        self._generator = np.random.default_rng(0)

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            chosen = self._generator.choice(
                self._classes, self._batch // PER_CLASS, replace=self._classes < self._batch // PER_CLASS
            )
            yield [PER_CLASS * int(one) + place for one in chosen for place in range(PER_CLASS)]


def _for_seconds(step: Call, seconds: float) -> float:
    """Steps a second, for at least so long."""
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or not steps:
        step()
        steps += 1
    return steps / (time.perf_counter() - started)
