"""Few images, no labels, one question each: the recipe, the preset and the two options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import understudy
from understudy.config import RunConfig, parse
from understudy.config.recipes import read_run_settings, run_recipes
from understudy.errors import UserError

Command = Callable[..., Any]


@pytest.fixture
def words(taught: Path) -> tuple[object, ...]:
    return (
        *("--data", taught / "images", "--teacher", taught / "teacher" / "model", "--student", "smallconv_8"),
        *("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 3, "--sampler.batch-size", 8),
    )


def written(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return values


def images(run: Path) -> int:
    count: int = json.loads((run / "summary.json").read_text())["images"]
    return count


def test_the_recipe_runs_by_its_name(
    command: Command, words: tuple[object, ...], here: Path, taught: Path
) -> None:
    done = command("distill", "data_efficient", *words, "--fraction", 0.5, "--out", "run")
    assert done.status == 0, done.err
    values = written(here / "run")
    assert values["teachers"]["main"]["reference"] == str(taught / "teacher" / "model")
    assert values["teachers"]["main"]["view"] == "clean"  # the file's, beside the option's reference
    assert values["supervised"] == []
    assert values["data"]["fraction"] == 0.5
    assert [loss["name"] for loss in values["losses"]] == ["interpolated"]
    assert images(here / "run") == 18  # half of the six classes that are not set aside


def test_a_folder_in_the_configurations_place_is_told_its_option(
    command: Command, words: tuple[object, ...], here: Path
) -> None:
    (here / "photos").mkdir()
    refused = command("distill", "photos", *words)
    assert (refused.status, refused.out) == (2, "")
    expected = "error: 'photos' is a folder, not a YAML configuration: pass images as --data photos\n"
    assert refused.err == expected
    (here / "data_efficient").mkdir()  # a run of that name does not hide the recipe
    assert read_run_settings("data_efficient")["supervised"] == []


def test_a_limit_takes_the_place_of_the_recipes_share(
    command: Command, words: tuple[object, ...], here: Path
) -> None:
    done = command("distill", "data_efficient", *words, "--queries", 10, "-o", "run")
    assert done.status == 0, done.err
    assert images(here / "run") == 10
    assert written(here / "run")["data"]["fraction"] == 1.0


def test_a_limit_of_questions_is_kept_and_told(
    command: Command, words: tuple[object, ...], here: Path
) -> None:
    done = command("distill", *words, "--supervised", "none", "--queries", 10, "--out", "run")
    assert done.status == 0, done.err
    assert images(here / "run") == 10
    assert written(here / "run")["data"]["queries"] == 10
    assert [loss["name"] for loss in written(here / "run")["losses"]] == ["similarity_kl"]


def test_a_preset_with_losses_takes_the_default_s_place(
    command: Command, words: tuple[object, ...], here: Path
) -> None:
    done = command("distill", *words, "--preset", "data_efficient", "--out", "run")
    assert done.status == 0, done.err
    assert [loss["name"] for loss in written(here / "run")["losses"]] == ["interpolated"]
    for preset, names in (("darkrank_base", ["similarity_kl"]), ("darkrank_code", ["soft_darkrank"])):
        config = parse(RunConfig, {"teachers": "x", "preset": preset, "losses": ["default"]}, where="test")
        assert [loss.name for loss in config.losses] == names
    added = {"teachers": "x", "preset": "data_efficient", "losses": ["pkt"]}
    assert [loss.name for loss in parse(RunConfig, added, where="test").losses] == ["interpolated", "pkt"]


def test_the_same_from_python(taught: Path, tmp_path: Path) -> None:
    run = understudy.distill(
        {"source": str(taught / "images"), "fraction": 0.5},
        taught / "teacher" / "model",
        {"backbone": "smallconv_8", "dim": 8, "input_size": (16, 16)},
        out=tmp_path / "run",
        preset="data_efficient",
        sampler={"batch_size": 8},
        steps=2,
    )
    assert run.model.dim == 8
    assert [loss["name"] for loss in written(run.path)["losses"]] == ["interpolated"]


def test_typefaces_have_a_teacher_of_their_own_for_the_recipe() -> None:
    from understudy.training.defaults import complete

    value = complete(read_run_settings("data_efficient"), distils=True)
    assert value["teachers"] == {"main": {"view": "clean", "reference": "packaged:typefaces"}}
    photos = {**read_run_settings("data_efficient"), "data": "photos/"}
    with pytest.raises(UserError, match="pass --teacher"):
        complete(photos, distils=True)


@pytest.mark.parametrize("name", run_recipes())
def test_every_recipe_of_a_run_is_a_configuration(name: str) -> None:
    from understudy.training.defaults import complete

    parse(RunConfig, complete(read_run_settings(name), distils=True), where=name)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("data_eficient",), "did you mean 'data_efficient'"),
        (("missing.yaml",), "there is no file 'missing.yaml'"),
        (("--fraction", 0), "data.fraction"),
        (("--fraction", 1.5), "data.fraction"),
        (("--queries", 1), "data.queries"),
    ],
)
def test_mistakes_are_refused(
    refused: Callable[..., str], words: tuple[object, ...], options: tuple[object, ...], sentence: str
) -> None:
    assert sentence in refused("distill", *options, *words, "--out", "run")


def test_a_file_comes_before_a_recipe_of_its_name(
    command: Command, words: tuple[object, ...], here: Path
) -> None:
    (here / "data_efficient").write_text("losses: [pkt]\nsupervised: []\n")
    assert command("distill", "data_efficient", *words, "--out", "run").status == 0
    assert [loss["name"] for loss in written(here / "run")["losses"]] == ["pkt"]


def test_a_table_of_another_dimension_teaches_by_neighbourhoods_a_student_that_sees_less(
    command: Command, words: tuple[object, ...], taught: Path, here: Path
) -> None:
    made = command("embed", taught / "teacher" / "model", taught / "images", "-o", "answers")
    assert made.status == 0, made.err
    done = command(
        *("distill", "data_efficient", *words, "--teacher", "table:answers", "--fraction", 0.5),
        *("--sampler.kind", "teacher_knn", "--sampler.neighbours", 3, "--student-view.scale", 0.5),
        *("--out", "run"),
    )
    assert done.status == 0, done.err
    assert images(here / "run") == 18
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert "neighbour_overlap@10" in summary["metrics"]  # the table has the evaluation images: asking is free
    model = understudy.load(here / "run" / "model")
    assert model.dim == 8  # the table's vectors have 12 numbers
    again = command(
        *("distill", "data_efficient", *words, "--teacher", "table:answers", "--fraction", 0.5),
        *("--sampler.kind", "teacher_knn", "--sampler.neighbours", 3, "--student-view.scale", 0.5),
        *("--out", "run", "--resume"),
    )
    assert again.status == 0, again.err
