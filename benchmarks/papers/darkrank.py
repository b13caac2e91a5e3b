"""DarkRank's tables on Market-1501 (Chen, Wang, Zhang, AAAI 2018).

    python benchmarks/papers/darkrank.py --data FOLDER --weights FOLDER --work FOLDER [--jobs 16]
        [--parts teacher,curves,table1,table1-more,table3,figure3,beyond,table5] [--until SECONDS]

FOLDER of the data is Market-1501 as its archive unpacks; that of the weights holds the ImageNet weights
`tf_efficientnet_lite0.safetensors` and `tf_efficientnet_lite2.safetensors`. The part `teacher` prepares the
data, trains the teacher twice (on all identities, and for every choice on four fifths) and stores its
answers; every other part runs a study that ships with the package (`understudy compare market1501-table1`).
Started again with the same words it does not redo what is finished; after --until seconds nothing new begins,
what runs writes a checkpoint, and the exit status is 75. Each finished part is written to --out. A study that
was finished with fewer seeds or rows goes on; one whose settings have changed since is refused.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import understudy  # noqa: F401
except ModuleNotFoundError:  # a checkout on a machine where the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import torch
from _darkrank_quick import quick
from _darkrank_report import Report
from _darkrank_studies import studies
from _darkrank_teacher import measure_teachers, prepare_teachers
from _steps import OutOfTime, Step, Steps, say
from write_recipes import as_yaml

from understudy.study import changed, read_study

STUDIES = {
    "curves": ("market1501-curves",),
    "table1": ("market1501-table1",),
    "table1-more": ("market1501-table1-more",),
    "table3": ("market1501-table3",),
    "figure3": ("market1501-figure3-soft", "market1501-figure3-hard"),
    "beyond": ("market1501-beyond",),
    "table5": ("market1501-table5",),
}
PARTS = ("teacher", *STUDIES)
UNFINISHED = 75


def main(words: Sequence[str] | None = None) -> int:
    """Runs the parts that are asked for, writes what is finished, and says whether anything is left."""
    arguments = _arguments(words)
    arguments.work.mkdir(parents=True, exist_ok=True)
    steps = Steps(arguments.work, arguments.until)
    status = 0
    try:
        if not arguments.report:
            _run(arguments, steps)
    except OutOfTime:
        say("the time is over: start the same command again to go on")
        status = UNFINISHED
    Report(arguments.work, arguments.out, steps, arguments.commit).write()
    return status


def _run(arguments: argparse.Namespace, steps: Steps) -> None:
    prepare_teachers(arguments, steps)
    for part in arguments.parts:
        for name in STUDIES.get(part, ()):
            steps.together([_study(arguments, part, name)], devices=_gpus(arguments.device))
    measure_teachers(arguments, steps)  # last: a study needs all GPUs and this one, for a while


def _gpus(device: str) -> int:
    return torch.cuda.device_count() if device == "auto" else int(device.startswith("cuda"))


def _study(arguments: argparse.Namespace, part: str, name: str) -> Step:
    """The command of a study: the recipe of the package, or a small copy of it."""
    recipe = name
    if arguments.quick:
        recipe = f"{name}.yaml"
        (arguments.work / recipe).write_text(as_yaml(quick(studies()[name])), encoding="utf-8")
    words: list[Any] = ["compare", recipe, "--out", name, "--jobs", arguments.jobs]
    words += [] if arguments.device == "auto" else ["--device", arguments.device]
    words += [] if arguments.seeds is None else ["--seeds", arguments.seeds]
    _put_aside_others(arguments, name, recipe)
    return Step(part, tuple(map(str, words)), f"{name}/results.json")


def _put_aside_others(arguments: argparse.Namespace, name: str, recipe: str) -> None:
    """Renames results that other rows, seeds or settings gave, so that the study is taken up again."""
    results: Path = arguments.work / name / "results.json"
    if not results.is_file():
        return
    study = read_study(arguments.work / recipe if arguments.quick else recipe)
    settings = {} if arguments.device == "auto" else {"device": arguments.device}
    wanted = changed(study, settings, seeds=arguments.seeds).model_dump(mode="json")
    found = json.loads(results.read_text(encoding="utf-8"))["config"]
    if any(found[key] != wanted[key] for key in ("base", "rows", "seeds")):
        results.replace(results.with_name("results-before.json"))
        say(f"{name}: its results are of other rows, seeds or settings; they are in results-before.json now")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=_place, help="Market-1501, as its archive unpacks")
    parser.add_argument("--weights", type=_place, help="the folder of the ImageNet weights")
    parser.add_argument("--work", type=_place, default=Path("runs/darkrank").resolve())
    parser.add_argument("--out", type=_place, default=Path("benchmarks/results/papers").resolve())
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"what to do: {','.join(PARTS)}")
    parser.add_argument("--jobs", type=int, default=1, help="runs trained side by side")
    parser.add_argument("--seeds", type=int, help="of every row (default: the studies' own)")
    parser.add_argument("--until", type=float, metavar="SECONDS", help="begin nothing new after so long")
    parser.add_argument("--device", default="auto", help="auto: every GPU there is")
    parser.add_argument("--commit", help="of the code, for the results, where it lies in no checkout")
    parser.add_argument("--report", action="store_true", help="run nothing, write what is finished so far")
    parser.add_argument(
        "--quick", action="store_true", help="tiny networks and two steps, to see that every part runs"
    )
    return parser.parse_args(words)


def _place(text: str) -> Path:
    return Path(text).resolve()


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(filter(None, text.split(",")))
    if not set(names) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: parts are {', '.join(PARTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
