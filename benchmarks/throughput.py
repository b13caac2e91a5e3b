"""Images a second of training, beside the ceiling that the networks alone set in the same run.

    python benchmarks/throughput.py [--device cuda|cpu] [--out benchmarks/results/throughput-cuda.json]

(a) The ceiling: forward, backward and update of the bare student on a rendered batch that lies on the device,
the faster of as it is and recorded as a CUDA graph. (b) The package's loop on labels, with random crops and
flips of decoded images. (c) With a live teacher on the same views, against the ceiling with the teacher's
forward pass in it. (d) With the teacher's answers kept. On a GPU in bf16 autocast and channels-last.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

try:
    import understudy  # noqa: F401
except ModuleNotFoundError:  # a checkout on a machine where the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _losses_gpu import Call
from _losses_table import Line, elapsed, markdown, measure, say
from _throughput_rows import Setting, bare, loop, resident

from understudy.files import write_json, write_text

NOTES = (
    "Images/s; medians of three rounds. Images are noise that lies decoded on the device, a seventh larger "
    "than what the networks see; AdamW, multi-similarity, and with a teacher similarity KL; embeddings of "
    "128 dimensions, four images a class. Peak memory is PyTorch's, the images included."
)
ON_GPU = [
    (student, teacher, batch, (224, 224))
    for student, teacher in (("mobilenetv3_small_050", "tf_efficientnet_lite2"), ("resnet18", "resnet50"))
    for batch in (64, 128)
]
ON_CPU = [("smallconv_16", "smallconv_64", 128, (40, 40))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--steps", type=int, default=40, help="steps in a round")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    out: Path = arguments.out or Path(f"benchmarks/results/throughput-{device.type}.json")
    cuda = device.type == "cuda"
    torch.backends.cudnn.benchmark = cuda
    machine = torch.cuda.get_device_name() if cuda else f"{torch.get_num_threads()} CPU threads"
    lines: list[Line] = []
    for student, teacher, batch, size in ON_GPU if cuda else ON_CPU:
        setting = Setting(student, teacher, batch, size, device)
        for line, work in rows(setting, arguments.steps):
            lines.append(measure(line, work))
            write(out, machine, lines)
    say(f"{out}, {out.with_suffix('.md').name}: {elapsed():.0f} s in all")


def rows(setting: Setting, steps: int) -> list[tuple[Line, Callable[[], dict[str, float]]]]:
    """The table's lines for one pair of networks and one batch size."""
    pixels, labels = resident(setting, 8 * setting.batch)
    height, width = setting.size
    what = f"{setting.student}, batch {setting.batch}, {height} × {width}"
    least = 0.75 if setting.batch < 128 else 0.9
    ceilings: dict[bool, float] = {}

    def ceiling(*, with_teacher: bool) -> dict[str, float]:
        graphs = (False, True) if setting.device.type == "cuda" else (False,)
        found = [
            rate(bare(setting, graph=graph, with_teacher=with_teacher), steps, setting) for graph in graphs
        ]
        ceilings[with_teacher] = max(found)
        return {"images/s": max(found), "as it is": found[0]}

    def ours(kind: str) -> dict[str, float]:
        if setting.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        found = statistics.median(loop(setting, pixels, labels, kind, steps))
        figures = {"of the ceiling": found / ceilings[kind == "live"], "images/s": found}
        if setting.device.type == "cuda":
            figures["GB at most"] = torch.cuda.max_memory_allocated() / 1e9
        return figures

    def target(name: str) -> Line:
        return Line(f"{what}: {name}", f"≥ {least} of the ceiling", least, at_least=True)

    return [
        (Line(f"{what}: (a) bare step"), lambda: ceiling(with_teacher=False)),
        (target("(b) from labels"), lambda: ours("supervised")),
        (Line(f"{what}: bare step and {setting.teacher}"), lambda: ceiling(with_teacher=True)),
        (target(f"(c) from a live {setting.teacher}"), lambda: ours("live")),
        (target("(d) from kept answers"), lambda: ours("kept")),
    ]


def rate(step: Call, steps: int, setting: Setting) -> float:
    """Images/s of a step, the median of three rounds after one to warm up."""
    rates = []
    for _ in range(4):
        started = time.perf_counter()
        for _ in range(steps):
            step()
        if setting.device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(steps * setting.batch / (time.perf_counter() - started))
    return statistics.median(rates[1:])


def write(out: Path, machine: str, lines: list[Line]) -> None:
    about = {"machine": machine, "torch": torch.__version__, "notes": NOTES}
    write_json(out, {**about, "lines": [line.as_json() for line in lines]})
    title = f"Training on {machine}, torch {torch.__version__}"
    write_text(out.with_suffix(".md"), markdown(title, lines, NOTES))


if __name__ == "__main__":
    main()
