"""Fills docs/darkrank-market1501.md from what benchmarks/papers/darkrank.py measured and from its settings.

    python benchmarks/papers/write_page.py [--check]

The prose is written by hand; what stands between `<!-- NAME -->` and `<!-- end -->` is written here.
`--check` writes nothing and fails where the page is out of date; the test suite runs it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import _market1501_settings as market
from _darkrank_losses import GRID
from _darkrank_pages import TITLES, body, table
from _darkrank_published import COLUMNS, SPEED, printed

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "darkrank-market1501.md"
RESULTS = ROOT / "benchmarks" / "results" / "papers"
PARTS = ("teacher", "curves", "table1", "table3", "figure3", "table5", "beyond")
PICTURES = {
    "teacher": "The teacher on identities set aside",
    "curves": "The student alone",
    "figure3": "Figure 3",
}

_PLACE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(words: Sequence[str] | None = None) -> int:
    """Writes the page, or says whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where it is out of date")
    check = parser.parse_args(words).check
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old, RESULTS)
    if check:
        if old != new:
            print("docs/darkrank-market1501.md is out of date: run write_page.py", file=sys.stderr)
        return int(old != new)
    PAGE.write_text(new, encoding="utf-8")
    return 0


def filled(text: str, results: Path) -> str:
    """The page's text with every place filled.

    Args:
        text: The page as it is.
        results: The folder of `darkrank-PART.json`.
    """

    def fill(place: re.Match[str]) -> str:
        return f"{place[1]}\n{_content(place[2], results)}\n\n{place[3]}"

    return _PLACE.sub(fill, text)


def _content(name: str, results: Path) -> str:
    if name == "settings":
        return settings()
    if name not in PARTS:
        raise ValueError(f"the page has a place for {name!r}, which is no part: known are {', '.join(PARTS)}")
    file = results / f"darkrank-{name}.json"
    if not file.is_file():
        return _published(name)
    found = body(json.loads(file.read_text(encoding="utf-8")))
    if name in PICTURES:
        found += f"\n\n![{PICTURES[name]}](../benchmarks/results/papers/darkrank-{name}.svg)"
    return found


def _published(part: str) -> str:
    """What was printed, where nothing is measured here yet."""
    rows = [[name, *(f"{value:.1f}" for value in values)] for name, values in printed(part).items()]
    head = ["published", *(TITLES[name] for name in COLUMNS)]
    if part == "table5":
        head = ["published", "parameters", "images/s, Titan X"]
        rows = [[name, f"{size} M", str(speed)] for name, (size, speed) in SPEED.items()]
    return "Not measured here yet." + (f"\n\n{table(head, rows)}" if rows else "")


def settings() -> str:
    """How the bench differs from the paper, with the numbers that it runs with."""
    student, teacher = market.STUDENT["student"], market.TEACHER["student"]
    factors = ", ".join(f"{factor:g}" for factor in GRID)
    rows = [
        ["teacher", "Inception-BN", f"{_network(teacher)}; the mean over an image and its mirror image"],
        ["student", "NIN-BN", _network(student)],
        ["start", "ImageNet", "ImageNet; the main rows from random weights too"],
        [
            "losses on labels",
            "large-margin softmax, verification, triplet",
            "cross-entropy with label smoothing 0.1, batch-hard triplet with margin 0.3",
        ],
        ["batch", "8", f"{market.BATCHES['batch_size']}: 32 identities of 4 images"],
        ["candidates of a query", "7", "127, of which soft DarkRank takes the nearest 4, 8, 16 or all"],
        ["epochs of a student", "100", f"{market.EPOCHS}"],
        ["epochs of the teacher", "100", f"{market.TEACHER_EPOCHS}"],
        [
            "optimiser",
            "SGD with momentum, steps at 50 and 75",
            f"AdamW at {market.RATE:g} for the student, cosine after a warm-up",
        ],
        [
            "views",
            "random crop, flip",
            f"crop, flip, shift, colour, erased box; {market.VIEWS} fixed views, teacher's answers stored",
        ],
        [
            "settings of a method",
            "tuned on CUHK03",
            f"its weight times {factors}; alone or without labels its rate; on identities set aside",
        ],
        ["epochs of a search", "–", str(market.TRIAL_EPOCHS)],
        ["seeds", "–", str(market.SEEDS)],
    ]
    return table(["", "the paper", "here"], rows, align="---")


def _network(config: dict[str, object]) -> str:
    size = config["input_size"]
    assert isinstance(size, list)
    more = "".join(
        f", {key} {config[key]}" for key in ("pooling", "neck", "output_stride") if config.get(key)
    )
    return f"{config['backbone']}, {size[0]}×{size[1]}, {config['dim']} dimensions{more}"


if __name__ == "__main__":
    sys.exit(main())
