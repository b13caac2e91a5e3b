"""How fast a pack is read: against plain copying of memory, and against decoding JPEGs in a DataLoader.

    python benchmarks/reading.py [--images 2000] [--rounds 40] [--out benchmarks/results/reading]

Ratios within one run, medians of interleaved rounds. The images are textures of about 250 pixels, written
as JPEGs to a temporary folder and packed from there. (a) A batch of 128 random rows from the pack, its pages
in memory, against a torch copy of as many bytes that lie together, at a random place of a tensor as large as
the pack: by one thread, in the time the processor worked for it, and by all threads, in time on the clock.
(b) The same batch from the pack against one from a torch DataLoader with 2 workers that decode the JPEGs to
the very same pixels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from understudy.data import Manifest, Pixels, decode, open_dataset, read_image
from understudy.data.store import Form, Store, pack
from understudy.files import write_json, write_text

BATCH, WORKERS, BOXES = 128, 2, 8
FORMS = (Form((224, 224)), Form((40, 40), "squash", 1), Form((256, 128), "squash"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reading"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = measure(Path(place), arguments.images, arguments.rounds)
    write_json(arguments.out.with_suffix(".json"), result)
    write_text(arguments.out.with_suffix(".md"), to_markdown(result))
    print(to_markdown(result))


def measure(place: Path, images: int, rounds: int) -> dict[str, Any]:
    """Every figure, on images in a temporary folder."""
    load = os.getloadavg()[0]
    photos = draw(place / "photos", images)
    pieces = _cut_up(photos)
    every = torch.get_num_threads()
    copying = []
    for number, form in enumerate(FORMS):
        source = pieces if form.channels == 1 else photos
        store = pack(source, place / f"{number}.pack", **form._asdict())
        for threads in sorted({1, every}):
            torch.set_num_threads(threads)
            copying.append({"threads": threads, **_against_copy(store, rounds)})
    return {
        "batch": BATCH,
        "copying": copying,
        "decoding": _against_loader(photos, place / "0.pack", FORMS[0]),
        "processors": os.cpu_count(),
        "load before and after": [round(load, 1), round(os.getloadavg()[0], 1)],
        "torch": torch.__version__,
    }


def draw(folder: Path, count: int) -> Path:
    """A manifest of JPEGs: soft blobs under fine noise, as large on disk as photographs of their size."""
    generator = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        width, height = (int(side) for side in generator.integers(220, 281, 2))
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        noisy = soft + generator.normal(0, 8, soft.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05d}.jpg", quality=90)
    manifest = folder.parent / "photos.csv"
    Manifest.of_paths(folder.parent, [f"photos/{n:05d}.jpg" for n in range(count)]).save(manifest)
    return manifest


def _against_copy(store: Store, rounds: int) -> dict[str, Any]:
    pixels = store.pixels()
    held = pixels.tensor.clone()
    resident = Pixels(held, pixels.rows)
    batch = BATCH * held[0].numel()
    repeats = max(1, 2**24 // batch)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randperm(len(pixels), generator=generator)[:BATCH] for _ in range(64)]
    starts = torch.randint(0, len(pixels) - BATCH + 1, (64,), generator=generator).tolist()
    works: dict[str, Callable[[int], Tensor]] = {
        "copy": lambda turn: held[starts[turn] : starts[turn] + BATCH].clone(),
        "memory": lambda turn: resident.gather(rows[turn]),
        "pack": lambda turn: pixels.gather(rows[turn]),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    for turn in range(-3, rounds):
        for name, work in works.items():
            start = clock()
            for step in range(repeats):
                work((turn * repeats + step) % 64)
            if turn >= 0:
                times[name].append((clock() - start) / repeats)
    return {
        "shape": list(store.form.shape),
        "images": len(pixels),
        "shards": len(store.facts["shards"]),
        "GB/s": {name: round(batch / statistics.median(taken) / 1e9, 2) for name, taken in times.items()},
        "pack over copy": _ratio(times["copy"], times["pack"]),
        "pack over memory": _ratio(times["memory"], times["pack"]),
    }


def _cut_up(photos: Path) -> Path:
    """More and smaller images from the same files."""
    manifest = open_dataset(photos).manifest
    lines = ["path,label,split,box"]
    for path in manifest.paths:
        lines += [f"{path},,train,{8 * n} {10 * n} {120 + 8 * n} {120 + 10 * n}" for n in range(BOXES)]
    pieces = photos.with_name("pieces.csv")
    write_text(pieces, "\n".join(lines) + "\n")
    return pieces


class _Jpegs(TorchDataset[Tensor]):
    """What a DataLoader's workers do: read, decode and resize one image at a time."""

    def __init__(self, manifest: Manifest, form: Form) -> None:
        self.manifest, self.form = manifest, form

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, row: int) -> Tensor:
        image = read_image(self.manifest.path(row), channels=self.form.channels)
        return torch.from_numpy(decode(image, self.form.resize, self.form.mode, self.form.interpolation))


def _against_loader(photos: Path, place: Path, form: Form) -> dict[str, Any]:
    pixels = pack(photos, place, **form._asdict()).pixels()
    jpegs = _Jpegs(open_dataset(photos).manifest, form)
    assert torch.equal(jpegs[7], pixels.gather(torch.tensor([7]))[0])
    loader = DataLoader(jpegs, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    count = len(jpegs)

    def packed() -> None:
        for rows in torch.split(torch.randperm(count), BATCH):
            pixels.gather(rows)

    _time(lambda: list(loader))  # starts the workers
    times: dict[str, list[float]] = {"loader": [], "pack": []}
    for _ in range(5):
        times["loader"].append(_time(lambda: [len(batch) for batch in loader]))
        times["pack"].append(_time(packed))
    return {
        "shape": list(form.shape),
        "workers": WORKERS,
        "images/s": {name: round(count / statistics.median(taken)) for name, taken in times.items()},
        "pack over loader": _ratio(times["loader"], times["pack"]),
    }


def to_markdown(result: dict[str, Any]) -> str:
    """The tables people read."""
    before, after = result["load before and after"]
    head = ["image", "images", "shards", "threads", "copy, GB/s", "from memory", "from the pack"]
    head += ["pack / copy", "pack / memory"]
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in result["copying"]:
        cells = [" × ".join(map(str, row["shape"])), f"{row['images']:,}", row["shards"], row["threads"]]
        cells += [row["GB/s"][name] for name in ("copy", "memory", "pack")]
        cells += [f"{row[name]:.2f}" for name in ("pack over copy", "pack over memory")]
        table.append(f"| {' | '.join(map(str, cells))} |")
    loader = result["decoding"]
    speed = loader["images/s"]
    return f"""# Reading packed images

Batches of {result["batch"]} random rows, pages in memory, {result["processors"]} processors, torch
{result["torch"]}; load of the machine before and after: {before}, {after}.
Written by `python benchmarks/reading.py`.

{chr(10).join(table)}

*copy*: a torch copy of as many bytes that lie together. *from memory*: the same random rows of a tensor in
ordinary memory. One thread: in the time the processor worked for it; several: in time on the clock.

{" × ".join(map(str, loader["shape"]))} from JPEGs in a DataLoader with {loader["workers"]} workers:
{speed["loader"]:,} images/s; from the pack: {speed["pack"]:,} images/s,
{loader["pack over loader"]:.0f} × as many.
"""


def _time(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(theirs, ours, strict=True)), 3)


if __name__ == "__main__":
    main()
