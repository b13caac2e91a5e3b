"""What search and metrics cost: against bare products, against others, and in memory.

    python benchmarks/search.py [--device cpu|cuda] [--features FILE.npz] [--small] [--out FILE.json]

Ratios within one run. Every target stands beside the figure, met or not. A Markdown table is written beside
the JSON. FILE.npz holds ``query``, ``gallery`` (features), ``query_ids``, ``gallery_ids`` (−1 junk),
``query_cameras`` and ``gallery_cameras`` of a re-identification test set; without it random vectors of
Market-1501's size are taken.
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
from _search_rows import Bench

from understudy.files import write_json, write_text

NOTES = (
    "Embeddings are random unit vectors around class centres, 2 to 12 a class, unless the line says "
    "otherwise. Times are wall times of one pass, the device's work included. bf16 and TF32 rows compare the "
    "certified search with the float32 one; both give the same scores to the last bits of float32."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--features", type=Path, help="real features for the re-identification row")
    parser.add_argument("--small", action="store_true", help="a rehearsal of seconds")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    busy = os.getloadavg()[0]
    out: Path = arguments.out or Path(f"benchmarks/results/search-{arguments.device}.json")
    if arguments.device == "cuda":
        machine, notes = torch.cuda.get_device_name(), NOTES
    else:
        machine = f"{torch.get_num_threads()} CPU threads"
        notes = f"{NOTES} The machine's load was {busy:.1f} at the start."
    if arguments.small:
        notes += " A rehearsal at small sizes: the figures mean nothing."
    bench = Bench(arguments.device, small=arguments.small, features=arguments.features)
    bench.run(partial(_write, out, machine, notes))
    say(f"{out}, {out.with_suffix('.md').name}: {elapsed():.0f} s in all")


def _write(out: Path, machine: str, notes: str, lines: list[Line]) -> None:
    about = {"machine": machine, "torch": torch.__version__, "notes": notes}
    write_json(out, {**about, "lines": [line.as_json() for line in lines]})
    title = f"What search and metrics cost on {machine}, torch {torch.__version__}"
    write_text(out.with_suffix(".md"), markdown(title, lines, notes))


if __name__ == "__main__":
    main()
