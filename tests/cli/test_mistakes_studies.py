"""Studies with mistakes, from the command line: one sentence, status 2, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Refused = Callable[..., str]

pytestmark = pytest.mark.usefixtures("here")

STUDY = """
name: small
base: {{data: {data}, student: {{backbone: smallconv_8, dim: 8, input_size: [16, 16]}}, steps: 2}}
seeds: 2
rows: [{rows}]
{more}
"""


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        (
            "{name: alone}, {name: taught}",
            "tests: [[alone, tought]]",
            "study.yaml: `tests` names a row 'tought' that is not trained: did you mean 'taught'?",
        ),
        (
            "{name: alone}, {name: taught}",
            "tests: [[alone, alone]]",
            "study.yaml: `tests` compares the row 'alone' with itself: name two rows",
        ),
        (
            "{name: alone}, {name: alone}",
            "",
            "study.yaml: two rows are named 'alone': give each its own name",
        ),
        (
            "{name: alone}",
            "metrics: [recal@1]",
            "`metrics` has 'recal@1', which no row measures: did you mean 'recall@1'?",
        ),
        ("{name: alone, confg: {seed: 1}}", "", "study.yaml: there is no key 'confg' in 'rows.0'"),
        (
            "{name: a, config: {optmi: {lr: 1}}}",
            "",
            "row 'a': there is no key 'optmi': did you mean 'optim'?",
        ),
        ("{name: a, config: {student: smalconv_8}}", "", "row 'a': there is no backbone"),
        ("{name: a, config: {supervised: [pkt]}}", "", "row 'a': 'pkt' learns from a teacher"),
        ("{name: a}", "seeds: []", "study.yaml: `seeds` must be one or more"),
        ("{name: a", "", "'study.yaml' is not valid YAML"),
    ],
)
def test_a_study_with_a_mistake(refused: Refused, taught: Path, rows: str, more: str, says: str) -> None:
    Path("study.yaml").write_text(STUDY.format(data=taught / "images", rows=rows, more=more))
    assert refused("compare", "study.yaml", "--out", "out").startswith(says)


def test_more_seeds_are_held_to_what_the_file_is(refused: Refused, taught: Path) -> None:
    """A row is never measured with a seed that it was chosen with, wherever the number of seeds stands."""
    rows = "{name: a, choose: {among: [{optim: {lr: 0.1}}], seeds: [2]}}"
    Path("study.yaml").write_text(STUDY.format(data=taught / "images", rows=rows, more=""))
    assert refused("compare", "study.yaml", "--seeds", 3, "--out", "out") == (
        "study 'small': the row 'a' chooses with seed 2, with which it is measured too: "
        "choose with other seeds"
    )


def test_a_study_that_is_not_there(refused: Refused) -> None:
    assert refused("compare", "typfaces").endswith("did you mean 'typefaces'?")
    assert refused("compare", "gone.yaml").startswith("there is no file 'gone.yaml'")
    Path("run.yaml").write_text("seed: 1")
    assert refused("compare", "run.yaml") == "'run.yaml' has no `rows`: it is not a study"


def test_a_study_into_something_else(refused: Refused, taught: Path) -> None:
    Path("study.yaml").write_text(STUDY.format(data=taught / "images", rows="{name: a}", more=""))
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    assert refused("compare", "study.yaml", "--out", "out") == (
        "'out' exists already and is not a study: pass another --out"
    )


def study(**value: Any) -> str:
    base = {
        "name": "tiny",
        "base": {"student": "smallconv_8", "steps": 1},
        "rows": [{"name": "a"}, {"name": "b", "config": {"seed": 1}}],
        "seeds": 2,
    }
    return yaml.safe_dump({**base, **value})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"rows": []}, "'rows' does not fit ([])"),
        ({"redraw": True, "base": {"data": ["photos"]}}, "`base`: 'data' does not fit (['photos'])"),
        ({"rows": [{"name": "a", "config": {"optim": "sgd"}}]}, "row 'a': 'optim' does not fit ('sgd')"),
        ({"rows": [{"name": "A b"}, {"name": "a-B"}]}, "the rows 'A b' and 'a-B' are too alike"),
        ({"rows": [{"name": "!"}]}, "the row's name '!' has no letter or digit"),
        ({"rows": [{"name": "t", "teacher": "main"}]}, "no row is trained: add one without `teacher`"),
        ({"seeds": 0}, "does not fit (0)"),
        ({"seeds": [1, 1]}, "`seeds` must be one or more, each once, not [1, 1]"),
        ({"rows": [{"name": "a", "choose": {"among": []}}]}, "does not fit ([])"),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}], "seeds": [1]}}]},
            "'a' chooses with seed 1, with which",
        ),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}], "metric": "map@k"}}]},
            "row 'a': choose.metric 'map@k' is not measured: did you mean 'map@r'?",
        ),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}, {"losses": ["pkt"]}]}}]},
            "row 'a': the loss 'pkt' needs a teacher",
        ),
        (
            {"rows": [{"name": "a"}, {"name": "t", "teacher": "mian"}]},
            "row 't': there is no teacher named 'mian'",
        ),
    ],
)
def test_a_study_that_cannot_be_run(refused: Refused, taught: Path, value: dict[str, Any], says: str) -> None:
    base = {"data": str(taught / "images"), "student": "smallconv_8", "steps": 1}
    Path("study.yaml").write_text(study(**{"base": base, **value}))
    assert says in refused("compare", "study.yaml", "--out", "out")
