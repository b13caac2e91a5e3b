"""Gathers what the runs of the DarkRank bench wrote down into one JSON file a part, and its page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from _darkrank_joining import joined, tests
from _darkrank_pages import page
from _darkrank_plots import draw
from _darkrank_published import published
from _darkrank_speed import speeds_of
from _darkrank_studies import BEYOND_TESTS, TABLE1_TESTS, TABLE3_TESTS, TEACHER, points
from _steps import Steps, say

from understudy import __version__
from understudy.files import write_json, write_text
from understudy.study.checkout import commit as checked_out
from understudy.study.config import slug

PAPER = "DarkRank (Chen, Wang, Zhang, AAAI 2018) on Market-1501"
Results = dict[str, Any]


class Report:
    """The results of a work folder.

    Args:
        work: The work folder.
        out: Where `darkrank-PART.json`, the page and the pictures go.
        steps: Knows how long the parts took.
        commit: Of the code, where it lies in no checkout.
    """

    def __init__(self, work: Path, out: Path, steps: Steps, commit: str | None = None) -> None:
        self.work, self.out, self.steps = work, out, steps
        self.commit = checked_out() or commit

    def write(self) -> None:
        """Writes every part that is finished."""
        parts: dict[str, Callable[[], Results | None]] = {
            "teacher": self._teacher,
            "curves": self._curves,
            "table1": lambda: self._table("table1", TABLE1_TESTS, more="table1-more"),
            "table3": lambda: self._table("table3", TABLE3_TESTS),
            "figure3": self._figure3,
            "beyond": lambda: self._table("beyond", BEYOND_TESTS, beside="table1"),
            "table5": self._table5,
        }
        for part, gather in parts.items():
            found = gather()
            if found is None:
                continue
            versions = {"understudy": __version__, "torch": torch.__version__}
            results = {"paper": PAPER, "part": part, "commit": self.commit, **versions, **found}
            place = self.out / f"darkrank-{part}.json"
            write_json(place, results)
            write_text(place.with_suffix(".md"), page(results))
            draw(results, self.out)
            say(f"written: {place}")

    def _teacher(self) -> Results | None:
        summaries = {name: self._read(f"{name}/summary.json") for name in ("teacher", "teacher-val")}
        measured = {path.stem: _read(path) for path in sorted((self.work / "measured").glob("*.json"))}
        if "teacher-reid" not in measured or not all(summaries.values()):
            return None
        runs: Results = {name: summary or {} for name, summary in summaries.items()}
        return {
            "hardware": runs["teacher"]["hardware"],
            "seeds": [0],
            "gpu_seconds": self.steps.gpu_seconds("teacher"),
            "runs": runs,
            "configuration": (self.work / "teacher" / "config.yaml").read_text(encoding="utf-8"),
            "measured": {
                name: {key: report[key] for key in ("metrics", "intervals")}
                for name, report in measured.items()
            },
            "curve": self._curve(self.work / "teacher-val"),
            "published": published(TEACHER),
        }

    def _table(
        self, part: str, pairs: Sequence[tuple[str, str]], *, more: str = "", beside: str = ""
    ) -> Results | None:
        """A part's rows and tests.

        Args:
            part: The part.
            pairs: The rows to compare.
            more: A study whose rows follow, where it is finished.
            beside: A study whose rows are compared with, where it is finished.
        """
        study = self._study(part)
        if study is None:
            return None
        studies = [study, *filter(None, [self._study(more)])]
        known = [*filter(None, [self._study(beside)])]
        rows = joined(studies, known)
        return {
            **_whose(*studies),
            "about": study["about"],
            "published": {row["name"]: published(row["name"], part) for row in rows},
            "rows": rows,
            "tests": tests(joined([*studies, *known]), pairs),
            "configurations": {one["study"]: one["config"] for one in studies},
        }

    def _curves(self) -> Results | None:
        study = self._study("curves")
        if study is None:
            return None
        runs = self.work / "market1501-curves" / "runs"
        curves = {
            row["name"]: [self._curve(runs / slug(row["name"]) / f"seed-{seed}") for seed in row["seeds"]]
            for row in study["rows"]
            if not row.get("diverged")
        }
        return {
            **_whose(study),
            "about": study["about"],
            "rows": study["rows"],
            "curves": curves,
            "configurations": {study["study"]: study["config"]},
        }

    def _figure3(self) -> Results | None:
        found = {kind: self._study(f"figure3-{kind}") for kind in ("soft", "hard")}
        if not all(found.values()):
            return None
        studies: Results = {kind: study or {} for kind, study in found.items()}
        found_points = [
            {
                "kind": kind,
                "name": row["name"],
                "varied": varied,
                "value": value,
                "metrics": row["metrics"],
                "diverged": row.get("diverged"),
            }
            for kind, study in studies.items()
            for row in study["rows"]
            for varied, value in points(kind, row["name"])
        ]
        configurations = {study["study"]: study["config"] for study in studies.values()}
        return {**_whose(*studies.values()), "points": found_points, "configurations": configurations}

    def _table5(self) -> Results | None:
        found = self._table("table5", ())
        if found is not None:
            found["speeds"] = speeds_of(self.work, "market1501-table5", found["rows"])
        return found

    def _study(self, name: str) -> Results | None:
        """The results of a study, where it is finished."""
        return self._read(f"market1501-{name}/results.json")

    def _curve(self, run: Path) -> dict[str, list[float]]:
        """The validation figures along a run, by step."""
        lines = [
            json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        evaluated = [line for line in lines if "val/map" in line]
        return {
            key: [line[name] for line in evaluated]
            for key, name in (("step", "step"), ("map", "val/map"), ("cmc@1", "val/cmc@1"))
        }

    def _read(self, name: str) -> Results | None:
        return _read(self.work / name) if (self.work / name).is_file() else None


def _whose(study: Results, *more: Results) -> Results:
    """Where, by what and how long the runs of some studies were trained, whoever puts them together."""
    trained, torches = (
        {row[key] for row in study["rows"] if row.get(key)} for key in ("trained_on", "torch")
    )
    return {
        **({"torch": ", ".join(sorted(torches))} if torches else {}),
        **({"commit": study["commit"]} if study["commit"] else {}),
        "hardware": ", ".join(sorted(trained)),
        "seeds": study["seeds"],
        "gpu_seconds": sum(one["gpu_seconds"] or 0 for one in (study, *more)),
    }


def _read(path: Path) -> Results:
    value: Results = json.loads(path.read_text(encoding="utf-8"))
    return value
