"""What the losses cost: against the forms that one would first write, and beside a training step.

    python benchmarks/losses.py [--device cpu|cuda] [--out benchmarks/results/losses-cpu.json]

Forward and backward throughout; ratios within one run, medians of interleaved rounds. Every target stands
beside the figure, met or not. A Markdown table is written beside the JSON.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from pathlib import Path

import torch

try:
    import understudy  # noqa: F401
except ModuleNotFoundError:  # a checkout on a machine where the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from _losses_table import Line, elapsed, markdown, say

from understudy.files import write_json, write_text

ON_GPU = (
    "Batch 128, 512 dimensions, unless the line says otherwise. Forward and backward of each loss, from the "
    "student's side to its gradient, replayed from a CUDA graph; 'compiled' is torch.compile's form of it, "
    "replayed from a graph too. Medians of interleaved rounds of 10 replays by CUDA events, and what "
    "they are of the captured step. Kernels are those of one replay, as the profiler sees them."
)
ON_CPU = (
    "Forward and backward; medians of interleaved rounds, ratios round by round. Extra memory is the peak "
    "resident memory of a fresh process during one pass, less what it held just before it, after a pass at a "
    "tiny size had loaded the libraries."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rehearse", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    out: Path = arguments.out or Path(f"benchmarks/results/losses-{arguments.device}.json")

    if arguments.device == "cuda":
        import _losses_cuda

        device = torch.device("cpu" if arguments.rehearse else "cuda")
        machine = "a rehearsal without GPU" if arguments.rehearse else torch.cuda.get_device_name()
        scale = _losses_cuda.REHEARSAL if arguments.rehearse else _losses_cuda.Scale()
        save = partial(_write, out, machine, ON_GPU)
        save(_losses_cuda.run(device, scale, save))
    else:
        import _losses_cpu

        load = f" The machine's load was {busy:.1f} at the start."
        save = partial(_write, out, f"{torch.get_num_threads()} CPU threads", ON_CPU + load)
        save(_losses_cpu.run(quick=arguments.rehearse, save=save))
    say(f"{out}, {out.with_suffix('.md').name}: {elapsed():.0f} s in all")


def _write(out: Path, machine: str, notes: str, lines: list[Line]) -> None:
    about = {"machine": machine, "torch": torch.__version__, "notes": notes}
    write_json(out, {**about, "lines": [line.as_json() for line in lines]})
    title = f"What the losses cost on {machine}, torch {torch.__version__}"
    write_text(out.with_suffix(".md"), markdown(title, lines, notes))


if __name__ == "__main__":
    main()
