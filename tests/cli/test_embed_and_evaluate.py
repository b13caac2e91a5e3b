from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

import understudy
from understudy.data.table import Table
from understudy.evaluation import metric_learning
from understudy.teachers.callable import CallableTeacher
from understudy.verbs.embedding_answers import Answerer
from understudy.verbs.embedding_job import EmbeddingJob

Command = Callable[..., Any]


@pytest.fixture
def model(taught: Path) -> Path:
    return taught / "teacher" / "model"


@pytest.fixture
def images(taught: Path) -> Path:
    return taught / "images"


@pytest.fixture
def table(command: Command, model: Path, images: Path, tmp_path: Path) -> Path:
    done = command("embed", model, images, "--out", tmp_path / "table", "--batch-size", 7)
    assert done.status == 0, done.err
    assert done.out == f"48 vectors of dimension 12: {tmp_path / 'table'}\n"
    return tmp_path / "table"


def test_a_table_holds_what_encode_gives(table: Path, model: Path, images: Path) -> None:
    opened = Table.open(table)
    paths = sorted(images.rglob("*.png"))
    assert list(opened.ids) == [path.relative_to(images).as_posix() for path in paths]
    expected = understudy.load(model).encode(paths)
    np.testing.assert_allclose(opened.read(range(48)), expected, atol=1e-5)
    assert (opened.teacher, opened.normalised) == ("smallconv_16", True)


def test_a_model_and_its_table_are_measured_alike(
    command: Command, table: Path, model: Path, images: Path
) -> None:
    shown = [json.loads(command("evaluate", what, images, "--json").out) for what in (model, table)]
    labels = np.arange(48) // 6
    expected = metric_learning(Table.open(table).read(range(48)), labels).metrics
    for report in shown:
        assert report["metrics"] == pytest.approx(expected)
        assert report["counts"] == {"queries": 48, "skipped": 0, "gallery": 48, "classes": 8, "unlabelled": 0}


def test_the_report_is_a_table_and_a_file(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    done = command("evaluate", model, images, "-o", tmp_path / "deep" / "report.json")
    written = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert done.status == 0
    assert f"| recall@1 | {100 * written['metrics']['recall@1']:.2f} % [" in done.out


@pytest.mark.parametrize("kind", ["model", "table"])
def test_a_teacher_that_ranks_alike_overlaps_wholly(
    command: Command, model: Path, table: Path, images: Path, kind: str
) -> None:
    teacher = model if kind == "model" else table
    report = json.loads(command("evaluate", model, images, "--teacher", teacher, "--json").out)
    assert report["metrics"]["neighbour_overlap@10"] == pytest.approx(1.0, abs=0.01)
    stranger = "timm:smallconv_8?weights=random&input_size=16x16"
    other = json.loads(command("evaluate", model, images, "--teacher", stranger, "--json").out)
    assert other["metrics"]["neighbour_overlap@10"] < 0.9
    assert other["metrics"]["recall@1"] == report["metrics"]["recall@1"]


def test_a_split_and_the_test_split_where_there_is_one(
    command: Command, model: Path, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    images = make_images(tmp_path / "images", classes=2, images=3, splits=("train", "test"))
    counts = {
        words: json.loads(command("evaluate", model, images, *words, "--json").out)["counts"]["queries"]
        for words in ((), ("--split", "train"))
    }
    assert counts == {(): 6, ("--split", "train"): 6}
    done = command("embed", model, images, "--split", "test", "--out", tmp_path / "table")
    assert done.status == 0
    assert all(name.startswith("test/") for name in Table.open(tmp_path / "table").ids)
    missing = command("evaluate", model, images, "--split", "query")
    assert missing.status == 2
    assert missing.err == "error: 'images' has no images in the split 'query': pass another --split\n"


def test_unreadable_images_stop_it_unless_told_otherwise(
    command: Command, model: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "class00" / "0.png").write_bytes(b"no image")
    for words in (("embed", model, folder, "--out", tmp_path / "table"), ("evaluate", model, folder)):
        before = sorted(tmp_path.iterdir())
        refused = command(*words)
        assert refused.status == 2
        assert "1 of 48 images cannot be read" in refused.err
        assert sorted(tmp_path.iterdir()) == before
        skipped = command(*words, "--skip-unreadable")
        assert skipped.status == 0
        assert (
            "class00/0.png' is not an image, or of a kind that Pillow does not read) and are left out"
            in skipped.err
        )
    assert len(Table.open(tmp_path / "table")) == 47
    with_table = command("evaluate", tmp_path / "table", folder, "--teacher", model, "--skip-unreadable")
    assert with_table.status == 2  # the table has no vector for an image that was skipped
    assert "1 of 48 ids are not in the embedding table" in with_table.err
    with_teacher = command("evaluate", model, folder, "--teacher", model, "--skip-unreadable", "--json")
    assert json.loads(with_teacher.out)["counts"]["queries"] == 47


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("embed", "{model}", "{images}", "--out", "{images}"),
            "exists already: pass another place for the table",
        ),
        (("embed", "{model}", "{images}", "--split", "tset"), "did you mean 'test'?"),
        (("embed", "{images}", "{images}"), "has no config.json: it is no saved model"),
        (("embed", "no/model", "{images}"), "there is no model directory 'no/model': check the path"),
        (("embed", "{model}", "no/images"), "is neither a manifest (.csv, .parquet) nor a folder"),
        (("embed", "{model}", "{images}", "--device", "cuda:99"), "the device 'cuda:99' cannot be used here"),
        (("evaluate", "no/model", "{images}"), "there is no model directory 'no/model': check the path"),
        (
            ("evaluate", "{model}", "{images}", "--teacher", "no/teacher"),
            "there is no model directory 'no/teacher'",
        ),
        (("evaluate", "{model}", "{images}", "--batch-size", "0"), "--batch-size"),
        (("evaluate", "{model}"), "missing argument 'data'"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command,
    model: Path,
    images: Path,
    words: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*(word.format(model=model, images=images) for word in words))
    assert done.status == 2
    assert done.out == ""
    assert sentence.lower() in done.err.lower()
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_agreement_looks_at_whole_rankings(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    report = json.loads(command("evaluate", model, images, "--teacher", model, "--agreement", "--json").out)
    figures, queries = report["metrics"], report["counts"]["queries"]
    assert figures["rank_correlation"] == pytest.approx(1.0)
    assert figures["kendall_correlation"] == pytest.approx(1.0)
    assert figures["list_distance@10"] == figures["footrule_distance@10"] == 0.0
    assert figures["neighbour_overlap@10"] == 1.0
    assert report["counts"]["correlated"] == queries
    refused = command("evaluate", model, images, "--agreement")
    assert refused.status == 2
    assert "pass a teacher" in refused.err


def test_flip_keeps_the_mean_of_an_image_and_its_mirror_image(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    for file in images.rglob("*.png"):
        turned = tmp_path / "turned" / file.relative_to(images)
        turned.parent.mkdir(parents=True, exist_ok=True)
        ImageOps.mirror(Image.open(file)).save(turned)
    for name, data, more in (
        ("plain", images, []),
        ("mirror", tmp_path / "turned", []),
        ("both", images, ["--flip"]),
    ):
        assert command("embed", model, data, "--out", tmp_path / name, "--logits", *more).status == 0
    plain, mirror, both = (Table.open(tmp_path / name) for name in ("plain", "mirror", "both"))
    every = range(48)
    np.testing.assert_allclose(
        both.read_logits(every), (plain.read_logits(every) + mirror.read_logits(every)) / 2, atol=1e-4
    )
    mean = plain.read(every) + mirror.read(every)
    np.testing.assert_allclose(
        both.read(every), mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5
    )
    assert (plain.queries, both.queries) == (48, 2 * 48)
    shown = [
        json.loads(command("evaluate", *words, images, "--json").out)["metrics"]
        for words in ((model, "--flip"), (tmp_path / "both",))
    ]
    assert shown[0] == pytest.approx(shown[1])
    again = command("embed", model, images, "--out", tmp_path / "both", "--logits")
    assert again.status != 0
    assert str(tmp_path / "both") in again.err


def test_flip_is_taken_of_every_view(command: Command, model: Path, images: Path, tmp_path: Path) -> None:
    words = ("embed", model, images, "--views", 2)
    assert command(*words, "--out", tmp_path / "plain").status == 0
    assert command(*words, "--out", tmp_path / "both", "--flip").status == 0
    plain, both = (Table.open(tmp_path / name) for name in ("plain", "both"))
    assert (len(both), both.num_views, both.queries) == (48, 2, 4 * 48)
    for number in (0, 1):
        vectors = both.read(range(48), views=number)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert ((vectors * plain.read(range(48), views=number)).sum(1) > 0.7).all()  # a mean and a part of it


@pytest.mark.parametrize("length", [1.0, 3.0])
def test_flip_gives_unit_vectors_where_a_function_gives_them(
    length: float, images: Path, tmp_path: Path
) -> None:
    def function(shown: list[Image.Image]) -> Tensor:
        rows = torch.tensor(np.stack([np.asarray(image, dtype=np.float32).ravel()[:5] for image in shown]))
        return length * torch.nn.functional.normalize(rows + 1, dim=1)

    for name, flip in (("plain", False), ("both", True)):
        job = EmbeddingJob("function", images, flip=flip)
        with patch(
            "understudy.verbs.embedding_answers.open_teacher",
            lambda *_, **__: CallableTeacher(function, name="f"),
        ):
            answerer = Answerer(job)
        norms = np.linalg.norm(answerer.answer(range(48)).vectors, axis=1)
        assert (np.abs(norms - length) < 1e-5).all() == (name == "plain" or length == 1)
