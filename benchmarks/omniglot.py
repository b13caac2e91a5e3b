"""Omniglot from its folders, by the command line: a teacher, students alone, students distilled.

    python benchmarks/omniglot.py FOLDER [--jobs 1] [--work runs/omniglot] [--out benchmarks/results]

FOLDER holds `images_background` and `images_evaluation`, as published. Runs `understudy train` for the
teacher and `understudy compare benchmarks/omniglot.yaml` for the rest; started again, it does not redo what
is finished.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

TEACHER = """
    --model smallconv_64 --student.dim 128 --supervised multi_similarity=1.0 --steps 3000
    --sampler.batch-size 256 --optim.lr 0.003 --optim.weight-decay 0.01 --optim.clip 5.0
    --augment.rotate 15 --augment.translate 0.08 --augment.zoom [0.85,1.15] --augment.shear 10
    --augment.crop-scale [1,1] --augment.crop-ratio [1,1] --augment.flip 0
    --augment.brightness 0 --augment.contrast 0 --augment.saturation 0
    --evaluation.split test --checkpoint-every 1000
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds images_background and images_evaluation")
    parser.add_argument("--jobs", type=int, default=1, help="runs trained side by side")
    parser.add_argument("--work", type=Path, default=Path("runs/omniglot"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    beside = arguments.work / "omniglot"  # a link, so that no configuration holds a path of this machine
    if not beside.exists():
        beside.symlink_to(arguments.folder.resolve(), target_is_directory=True)
    study = Path(__file__).with_name("omniglot.yaml").resolve()
    _understudy(arguments.work, f"train --data omniglot --out teacher --resume {TEACHER}")
    _understudy(arguments.work, f"compare {study} --out study --jobs {arguments.jobs}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for ending in ("json", "md"):
        shutil.copy(arguments.work / "study" / f"results.{ending}", arguments.out / f"omniglot.{ending}")


def _understudy(folder: Path, command: str) -> None:
    subprocess.run([sys.executable, "-m", "understudy", *command.split()], cwd=folder, check=True)


if __name__ == "__main__":
    main()
