"""``understudy evaluate`` in a teacher's gallery and at several lengths, against what `encode` gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import understudy
from understudy.data.table import write_table
from understudy.evaluation import metric_learning
from understudy.models import TeacherSpace, build_embedder, save_artefact

Command = Callable[..., Any]
LABELS = np.arange(48) // 6


@pytest.fixture(scope="module")
def images(taught: Path) -> list[Path]:
    return sorted((taught / "images").rglob("*.png"))


@pytest.fixture(scope="module")
def place(taught: Path, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``towers`` projects 8 numbers into the teacher's 12, ``plain`` has 12; ``table``, ``short``."""
    place = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    settings = {"backbone": "smallconv_8", "input_size": [16, 16], "dim": 8}
    space = TeacherSpace(dim=12, teacher="smallconv_16")
    towers = build_embedder({**settings, "prefixes": [3]}, space=space)
    assert towers.projection is not None
    torch.nn.init.normal_(towers.projection.linear.weight)  # an orthogonal one ranks alike
    save_artefact(towers, place / "towers")
    save_artefact(build_embedder({**settings, "dim": 12}), place / "plain")
    vectors = understudy.load(taught / "teacher" / "model").encode(images)
    ids = [image.relative_to(taught / "images").as_posix() for image in images]
    write_table(place / "table", vectors, ids, metadata={"teacher": "smallconv_16"})
    write_table(place / "short", vectors[:, :5], ids, metadata={"teacher": "another"})
    return place


@pytest.fixture
def report(command: Command, taught: Path) -> Callable[..., dict[str, Any]]:
    def call(*words: object) -> dict[str, Any]:
        done = command("evaluate", words[0], taught / "images", *words[1:], "--json", "--confidence", 0)
        assert done.status == 0, done.err
        found: dict[str, Any] = json.loads(done.out)
        return found

    return call


def expected(query: np.ndarray, gallery: np.ndarray | None = None) -> Any:
    return pytest.approx(metric_learning(query, LABELS, gallery=gallery).metrics, abs=1e-6)


def cut(rows: np.ndarray, dim: int) -> np.ndarray:
    kept = rows[:, :dim]
    scaled: np.ndarray = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    return scaled


def test_queries_go_into_the_teachers_space_by_themselves(
    report: Callable[..., dict[str, Any]], place: Path, images: list[Path], taught: Path
) -> None:
    model = understudy.load(place / "towers")
    gallery = understudy.load(taught / "teacher" / "model").encode(images)
    own, projected = model.encode(images), model.encode(images, space="teacher")
    for asked in (place / "table", taught / "teacher" / "model"):
        found = report(place / "towers", "--gallery", asked)
        assert found["metrics"] == expected(projected, gallery)
        assert found["beside"]["student"]["metrics"] == expected(own)
        assert found["beside"]["teacher"]["metrics"] == expected(gallery)
        assert found["settings"]["space"] == "teacher"
    alone = report(place / "towers", "--space", "teacher")
    assert alone["metrics"] == expected(projected)
    assert report(place / "towers")["metrics"] == expected(own)
    assert alone["metrics"] != report(place / "towers")["metrics"]


def test_every_length_is_measured_as_encode_gives_it(
    report: Callable[..., dict[str, Any]], place: Path, images: list[Path], taught: Path
) -> None:
    model = understudy.load(place / "towers")
    found = report(place / "towers", "--dims", "5,3")
    assert list(found["prefixes"]) == ["3", "5", "8"]
    for dim, one in found["prefixes"].items():
        assert one["metrics"] == expected(model.encode(images, dim=int(dim)))
    assert found["prefixes"]["8"]["metrics"] == found["metrics"]
    table = report(place / "table", "--dims", "4")
    vectors = understudy.load(taught / "teacher" / "model").encode(images)
    assert list(table["prefixes"]) == ["4", "12"]
    assert table["prefixes"]["4"]["metrics"] == expected(cut(vectors, 4))


def test_lengths_in_the_teachers_gallery(
    report: Callable[..., dict[str, Any]], place: Path, images: list[Path], taught: Path
) -> None:
    """A projected prefix asks the whole gallery; where both share one space both are cut."""
    gallery = understudy.load(taught / "teacher" / "model").encode(images)
    model = understudy.load(place / "towers")
    short = report(place / "towers", "--gallery", place / "table", "--dims", "3")["prefixes"]["3"]
    assert short["metrics"] == expected(model.encode(images, dim=3, space="teacher"), gallery)
    assert short["beside"]["student"]["metrics"] == expected(model.encode(images, dim=3))
    assert short["beside"]["teacher"]["metrics"] == expected(gallery)
    plain = understudy.load(place / "plain")
    short = report(place / "plain", "--gallery", place / "table", "--dims", "3")["prefixes"]["3"]
    assert short["metrics"] == expected(plain.encode(images, dim=3), cut(gallery, 3))
    assert short["beside"]["teacher"]["metrics"] == expected(cut(gallery, 3))


def test_the_table_has_a_row_for_each_length(command: Command, place: Path, taught: Path) -> None:
    words = ("--gallery", place / "table", "--dims", "3", "--confidence", 0)
    lines = command("evaluate", place / "towers", taught / "images", *words).out.splitlines()
    assert lines[0].endswith(" | student | teacher |")
    starts = [line.split("|")[1].strip() for line in lines if line]
    first = starts.index("dim")
    assert starts[first + 2 : first + 4] == ["3", "8"]
    place_of = starts.index("student dim")
    assert starts[place_of + 2 : place_of + 4] == ["3", "8"]
    assert "teacher dim" not in starts  # its vectors stay whole
    assert all(line.count("|") == 8 for line in lines[lines.index("") + 1 :] if line)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("towers", "--dims", "9"), "dim = 9: this model's embeddings have 8 numbers, give 1 to 8"),
        (("towers", "--dims", "three"), "--dims 'three' are not whole numbers: write for example 1,5,10"),
        (("towers", "--dims", "3", "--whiten", "pca"), "pass --whiten-dim, or --dims without --whiten"),
        (
            ("plain", "--space", "teacher"),
            "no projection into its teacher's space: distil it with",
        ),
        (("plain", "--space", "theirs"), "there is no space named 'theirs': did you mean 'teacher'?"),
        (("towers", "--space", "own", "--gallery", "table"), "8 dimensions and the gallery 12: train the "),
        (
            ("towers", "--gallery", "short"),
            "the gallery has 5 dimensions and 'towers' 8, or 12 in its teacher's space: pass",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command,
    place: Path,
    taught: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(place)
    done = command("evaluate", words[0], taught / "images", *words[1:])
    assert (done.status, done.out) == (2, "")
    assert sentence in done.err
    assert done.err.count("\n") == 1
