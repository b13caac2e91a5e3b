"""Students of a table of stored vectors: few images, no labels, and the teacher's gallery to search in.

    python benchmarks/blackbox.py omniglot --data FOLDER [--jobs 14] [--device cuda]
    python benchmarks/blackbox.py market1501 --data FOLDER --weights tf_efficientnet_lite2.safetensors
    python benchmarks/blackbox.py typefaces

Trains the teacher, stores its vectors (`understudy embed`) and never asks it again. Every method chooses its
learning rate, and then one study (`understudy compare`) trains `curves`, methods by the share of the training
images; `switches`, what can be turned on mixtures of embeddings; `aligned`, every loss with the student's
queries in the teacher's gallery. Started again with the same options, it does not redo what is finished.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import understudy
except ModuleNotFoundError:  # a checkout on a machine where the package is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
    import understudy

import torch
import yaml
from _blackbox_measure import Evaluation, measure_all
from _blackbox_report import Line, collect, page, tests
from _blackbox_rows import (
    FRACTIONS,
    MIXED,
    OTHER_PAIRS,
    PAIRS,
    SWITCH_PAIRS,
    TUNED,
    Block,
    aligned,
    methods,
    row_name,
    study,
    switches,
)
from _blackbox_settings import SETTINGS, Setting

from understudy.config import merge
from understudy.data.table import Table
from understudy.files import write_json, write_text
from understudy.study.config import slug
from understudy.study.job import ending
from understudy.teachers.packaged import packaged_path
from understudy.training.device import find_device, hardware

PARTS = ("curves", "switches", "aligned")


def main(words: Sequence[str] | None = None) -> None:
    bench = Bench(_arguments(words))
    if not bench.arguments.report:
        bench.prepare()
        bench.run()
    bench.report()


class Bench:
    """One data set's studies in a folder of their own."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.setting: Setting = SETTINGS[arguments.setting]
        self.work: Path = arguments.work / arguments.setting
        self.steps: int = arguments.steps or self.setting.steps
        self.table = self.work / "table"
        self.work.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Data, teacher and table, each only where it is missing."""
        setting, arguments = self.setting, self.arguments
        if setting.prepare and not (self.work / setting.source).is_file():
            self._understudy(
                *(word.format(folder=arguments.data) for word in f"prepare {setting.prepare}".split()),
                *("--workers", str(arguments.jobs)),
            )
        teacher = "teacher/model"
        if setting.teacher:
            words = [word.format(weights=arguments.weights) for word in setting.teacher.split()]
            if not (self.work / "teacher" / "summary.json").is_file():
                self._understudy(
                    *("train", "--data", setting.source, "--out", "teacher", "--resume"),
                    *("--device", arguments.device, *words),
                )
        else:
            teacher = str(packaged_path("typefaces"))
        if not (self.table / "table.json").is_file():
            self._understudy("embed", teacher, setting.source, "-o", "table", "--device", arguments.device)
        measure_all([self._evaluation(self.table, None, self.work / "teacher.json")], workers=1)

    def run(self) -> None:
        """Trains everything, and measures what the runs' own summaries do not say."""
        if len(self.setting.rates) > 1 and not (self.work / "rates" / "results.json").is_file():
            self._compare("rates", [(methods(self.setting), (TUNED,))], seeds=1, choose=True)
        blocks = self._blocks()
        self._compare("runs", list(blocks.values()), seeds=self.arguments.seeds, choose=False)
        evaluations = []
        for part, (rows, fractions) in blocks.items():
            if part == "aligned" or self.setting.split is None:
                gallery = str(self.table) if part == "aligned" else None
                evaluations += [
                    self._evaluation(place / "model", gallery, place / "measured.json")
                    for fraction in fractions
                    for method in rows
                    for place in self._places(method, fraction)
                    if (place / "summary.json").is_file()  # else it diverged
                ]
        measure_all(evaluations, workers=self.arguments.jobs)

    def _compare(self, name: str, blocks: Sequence[Block], *, seeds: int, choose: bool) -> None:
        value = study(
            f"blackbox-{self.arguments.setting}-{name}",
            self.setting,
            blocks,
            seeds=seeds,
            steps=self.steps,
            device=self.arguments.device,
            choose=choose,
        )
        (self.work / f"{name}.yaml").write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
        self._understudy("compare", f"{name}.yaml", "--out", name, "--jobs", str(self.arguments.jobs))

    def _places(self, method: str, fraction: float) -> list[Path]:
        row = self.work / "runs" / "runs" / slug(row_name(method, fraction))
        return [row / f"seed-{seed}" for seed in range(self.arguments.seeds)]

    def report(self) -> None:
        """Writes what is finished so far."""
        setting, arguments = self.setting, self.arguments
        found: dict[str, list[Line]] = {part: [] for part in PARTS}
        for part, (rows, fractions) in self._blocks().items():
            measured = part == "aligned" or setting.split is None
            file = "measured.json" if measured else "summary.json"
            found[part] = [
                line
                for fraction in fractions
                for method in rows
                if (line := collect(method, fraction, self._places(method, fraction), file)) is not None
            ]
        wild = [
            row_name(method, fraction)
            for rows, fractions in self._blocks().values()
            for fraction in fractions
            for method in rows
            if any("how" in (ending(place) or {}) for place in self._places(method, fraction))
        ]
        metric = setting.metrics[0]
        results: dict[str, Any] = {
            "data": arguments.setting,
            "about": setting.about,
            "version": understudy.__version__,
            "torch": torch.__version__,
            "hardware": hardware(find_device(arguments.device)),
            "metrics": list(setting.metrics),
            "steps": self.steps,
            "rates": list(setting.rates),
            "chosen": {name: value["optim"]["lr"] for name, value in self._rates().items()},
            "seeds": arguments.seeds,
            "teacher": yaml.safe_load((self.work / "teacher.json").read_text(encoding="utf-8"))["metrics"],
            **found,
            "diverged": wild,
            "tests": tests(found["curves"], PAIRS, metric),
            "other_tests": tests(found["curves"], OTHER_PAIRS, metric),
            "switch_tests": tests([*found["curves"], *found["switches"]], SWITCH_PAIRS, metric),
            "base": dict(setting.base),
            "methods": methods(setting) | switches(),
        }
        out: Path = arguments.out / f"blackbox-{arguments.setting}.json"
        write_json(out, results)
        write_text(out.with_suffix(".md"), page(results))
        _say(f"{out}, {out.with_suffix('.md').name}")

    def _blocks(self) -> dict[str, Block]:
        """What the chosen parts consist of, every method with its learning rate."""
        rates = self._rates()
        fractions = self.arguments.fractions
        turned = {name: merge(config, rates.get(MIXED, {})) for name, config in switches().items()}
        known = {name: merge(config, rates.get(name, {})) for name, config in methods(self.setting).items()}
        blocks: dict[str, Block] = {
            "curves": (known, fractions),
            "switches": (turned, fractions),
            "aligned": (aligned(self.setting, Table.open(self.table).dim), (1.0,)),
        }
        return {part: blocks[part] for part in self.arguments.parts}

    def _rates(self) -> dict[str, dict[str, Any]]:
        """The learning rate that each method of the curves chose, as settings."""
        file = self.work / "rates" / "results.json"
        if not file.is_file():
            return {}
        rows = yaml.safe_load(file.read_text(encoding="utf-8"))["rows"]
        chosen = {row["name"]: row["chosen"]["settings"] for row in rows}
        return {name: chosen[row_name(name, TUNED)] for name in methods(self.setting)}

    def _evaluation(self, model: Path, gallery: str | None, out: Path) -> Evaluation:
        source = str(self.work / self.setting.source) if self.setting.prepare else self.setting.source
        return Evaluation(str(model), source, self.setting.split, gallery, self.arguments.device, str(out))

    def _understudy(self, *words: str) -> None:
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "understudy", *words], cwd=self.work, check=True)
        _say(f"{words[0]} {words[1]}: {time.monotonic() - started:.0f} s")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("setting", choices=SETTINGS, help="the data set")
    parser.add_argument("--data", type=lambda text: Path(text).resolve(), help="its folder, as published")
    parser.add_argument(
        "--weights", type=lambda text: Path(text).resolve(), help="where the teacher of market1501 starts"
    )
    parser.add_argument("--parts", type=_names, default=PARTS, help=f"what to train: {','.join(PARTS)}")
    parser.add_argument("--fractions", type=_numbers, default=FRACTIONS, help="shares of the images, 0.01,1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every run (default: the data set's own)")
    parser.add_argument("--jobs", type=int, default=1, help="runs trained side by side")
    parser.add_argument("--report", action="store_true", help="train nothing, write what is finished so far")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument(
        "--work", type=lambda text: Path(text).resolve(), default=Path("runs/blackbox").resolve()
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args(words)
    setting = SETTINGS[arguments.setting]
    if setting.prepare and arguments.data is None and not (arguments.work / arguments.setting).is_dir():
        parser.error(f"{arguments.setting} needs --data, the folder as its archive unpacks")
    return arguments


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part for part in text.split(",") if part)
    if not set(names) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: parts are {', '.join(PARTS)}")
    return names


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
