"""Runs `understudy demo` and keeps its table, for the README.

python benchmarks/demo.py [--work runs/demo] [--out benchmarks/results]
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from understudy.files import write_json
from understudy.study.demo import run_demo


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    start = time.monotonic()
    print(run_demo(arguments.work))
    seconds = round(time.monotonic() - start)
    results = json.loads((arguments.work / "study" / "results.json").read_text(encoding="utf-8"))
    write_json(arguments.out / "demo.json", {**results, "seconds": seconds})
    shutil.copy(arguments.work / "study" / "results.md", arguments.out / "demo.md")
    print(f"{seconds} s in all")


if __name__ == "__main__":
    main()
