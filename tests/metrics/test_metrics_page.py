"""What docs/metrics.md says is so: its examples run, and it speaks of every measure."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

from understudy import metrics
from understudy.metrics import accumulate, clustering

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_s_examples_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))
    assert len(blocks) >= 8
    shared: dict[str, object] = {}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        test = doctest.DocTestParser().get_doctest(block[1], shared, PAGE.name, PAGE.name, line)
        assert runner.run(test, clear_globs=False).failed == 0
        shared.update(test.globs)


def test_the_page_speaks_of_every_measure() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = set(accumulate.WHOLE) | {f"{name}@" for name in ("recall", "cmc", "mp", "map")}
    functions = {name for name in (*metrics.__all__, *clustering.__all__) if name.islower()}
    of_one_query = {"average_precision", "average_precision_at_k", "average_precision_at_r", "first_rank"}
    of_one_query |= {"inverse_negative_penalty", "r_precision", "trapezoidal_average_precision"}
    helpers = {"ranks_of", "neighbour_overlap_at_k", "clustering_scores"}
    for name in names | functions - of_one_query - helpers:
        assert f"`{name}" in text, name
