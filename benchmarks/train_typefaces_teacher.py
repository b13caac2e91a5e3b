"""Trains the packaged teacher of the typefaces and puts it into the package, in half precision.

    python benchmarks/train_typefaces_teacher.py [--run runs/typefaces-teacher]

The configuration is `src/understudy/recipes/teachers/typefaces.yaml`. A GPU takes about a minute, two CPU
cores most of an hour.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import understudy
from understudy.models import save_artefact
from understudy.study.demo import teacher_config
from understudy.training.progress import Reporter
from understudy.training.run import execute


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/typefaces-teacher"))
    arguments = parser.parse_args()
    run = execute(teacher_config(), arguments.run, resume=True, reporter=Reporter())
    target = Path(understudy.__file__).parent / "teachers" / "artefacts" / "typefaces"
    saved = run.path / "model"
    save_artefact(
        run.model,
        target,
        card=(saved / "README.md").read_text(encoding="utf-8"),
        metrics=json.loads((saved / "metrics.json").read_text(encoding="utf-8")),
        overwrite=True,
        dtype="float16",
    )
    print(run.metrics)


if __name__ == "__main__":
    main()
