"""The main job from the shell: a folder of images, a teacher, a student."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import understudy
from understudy.config import RunConfig, parse
from understudy.errors import UserError

Command = Callable[..., Any]
SMALL = (
    *("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 4, "--log-every", 2),
    *("--augment.num-views", 1, "--augment.rotate", 10),
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """The configurations of runs, none of which is trained: each ends with the sentence "seen"."""
    configs: list[RunConfig] = []

    def execute(config: RunConfig, *_: object, **__: object) -> None:
        configs.append(config)
        raise UserError("seen")

    monkeypatch.setattr("understudy.training.run.execute", execute)
    return configs


def test_a_list_needs_no_brackets(
    command: Command, folder: Path, tmp_path: Path, seen: list[RunConfig]
) -> None:
    """`A,B` is what the help shows; brackets do as well, a lone word is refused with the option's name."""
    for sides in ("16,16", "[16,16]", " [16, 16]"):
        words = ("--student.input-size", sides, "--student.prefixes", "4,8,16", "--optim.betas", "0.8,0.9")
        assert "seen" in command("train", "--data", folder, *words, "-o", tmp_path / "run").err
        assert seen[-1].student.input_size == (16, 16)
        assert seen[-1].student.prefixes == (4, 8, 16)
        assert seen[-1].optim.betas == (0.8, 0.9)
    refused = command(
        "train", "--data", folder, "--student.input-size", "wide,high", "--out", tmp_path / "run"
    )
    assert refused.status == 2
    assert "student.input_size" in refused.err


@pytest.mark.parametrize(
    ("words", "compiles", "graph"),
    [
        (("--compile", "off"), "off", "auto"),
        (("--compile", "on"), "on", "auto"),
        (("--cuda-graph", "off"), "auto", "off"),
    ],
)
def test_a_switch_is_typed_as_the_help_shows_it(
    command: Command, tmp_path: Path, seen: list[RunConfig], words: tuple[str, ...], compiles: str, graph: str
) -> None:
    assert "seen" in command("train", *words, "--out", tmp_path / "run").err
    assert (seen[-1].compile, seen[-1].cuda_graph) == (compiles, graph)


def test_train_then_distill_with_that_teacher(command: Command, folder: Path, tmp_path: Path) -> None:
    """The two commands of the README, on a folder."""
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    trained = command("train", "--data", folder, "--model", "smallconv_16", *SMALL, "--out", teacher)
    assert trained.status == 0, trained.err
    assert re.search(r"^recall@1 +\d+\.\d\d %$", trained.out, re.MULTILINE)
    assert f"model: {teacher / 'model'}\n" in trained.out

    words = ("--data", folder, "--teacher", teacher / "model", "--student", "smallconv_8", *SMALL)
    distilled = command("distill", *words, "--loss", "hard_darkrank", "--loss", "pkt=3", "--out", student)
    assert distilled.status == 0, distilled.err
    assert "neighbour_overlap@10" in distilled.out
    resolved = yaml.safe_load((student / "config.yaml").read_text())
    assert [(loss["name"], loss["weight"]) for loss in resolved["losses"]] == [
        ("hard_darkrank", None),
        ("pkt", 3.0),
    ]
    assert parse(RunConfig, resolved, where="test").student.backbone == "smallconv_8"
    line = json.loads((student / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss", "multi_similarity", "hard_darkrank", "pkt"} <= line.keys()
    card = (student / "model" / "README.md").read_text()
    assert f"* teachers: `{teacher / 'model'}`\n* losses: multi_similarity, hard_darkrank, pkt\n" in card

    image = Image.open(next(folder.rglob("*.png")))
    assert understudy.load(student / "model").encode([image]).shape == (1, 8)


def test_the_summary_as_json_is_all_that_is_printed(command: Command, folder: Path, tmp_path: Path) -> None:
    done = command(
        "train", "--data", folder, "--model", "smallconv_8", *SMALL, "--out", tmp_path / "run", "--json"
    )
    printed = json.loads(done.out)
    assert printed["path"] == str(tmp_path / "run")
    assert printed["metrics"] == json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]


def test_two_teachers_at_once_from_a_file(command: Command, taught: Path, tmp_path: Path) -> None:
    teacher = str(taught / "teacher" / "model")
    (tmp_path / "run.yaml").write_text(
        yaml.safe_dump(
            {
                "data": str(taught / "images"),
                "teachers": {"same": teacher, "clean": {"reference": teacher, "view": "clean"}},
                "student": {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]},
                "supervised": [],
                "losses": [
                    {"name": "pkt", "teacher": "same"},
                    {"name": "pkt", "teacher": "clean"},
                    {"name": "relative_teacher", "teacher": "clean", "weight": 2},
                ],
                "steps": 3,
                "log_every": 1,
            }
        )
    )
    done = command("distill", tmp_path / "run.yaml", "--seed", 3, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert {"pkt.0", "pkt.1", "relative_teacher"} <= lines[0].keys()
    assert lines[0]["pkt.0"] != lines[0]["pkt.1"]  # one teacher sees the views, the other the images
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["seed"] == 3


def test_options_go_on_top_of_the_file(command: Command, taught: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(
        f"data: {taught / 'images'}\nstudent: smallconv_8\nsteps: 99\n"
        "schedule: step\noptim: {lr: 0.5, clip: 1.0}\n"
    )
    words = ("--steps", 1, "--student.dim", 4, "--optim.lr", "1e-3", "--schedule.gamma", 0.5)
    done = command(
        "train", tmp_path / "run.yaml", *words, "--data.val-fraction", 0.25, "--out", tmp_path / "run"
    )
    assert done.status == 0, done.err
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["steps"], config["optim"]["lr"], config["optim"]["clip"]) == (1, 0.001, 1.0)
    assert (config["schedule"]["name"], config["schedule"]["gamma"]) == ("step", 0.5)
    assert (config["student"]["backbone"], config["student"]["dim"]) == ("smallconv_8", 4)
    assert (config["data"]["source"], config["data"]["val_fraction"]) == (str(taught / "images"), 0.25)


def test_a_teacher_and_no_label_at_all(command: Command, taught: Path, tmp_path: Path) -> None:
    words = (
        "--data",
        taught / "images",
        "--teacher",
        taught / "teacher" / "model",
        "--student",
        "smallconv_8",
    )
    done = command("distill", *words, "--supervised", "none", *SMALL, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "* losses: similarity_kl\n" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_run_is_resumed_from_the_shell(command: Command, taught: Path, tmp_path: Path) -> None:
    words = (
        "train",
        "--data",
        taught / "images",
        "--model",
        "smallconv_8",
        *SMALL,
        "--out",
        tmp_path / "run",
    )
    first = command(*words)
    assert command(*words).status == 2
    again = command(*words, "--resume")
    assert (again.status, again.out) == (0, first.out)
    assert command(*words, "--resume", "--seed", 5).err == (
        f"error: {str(tmp_path / 'run')!r} was started with another 'seed': pass the same settings to resume "
        "it, or another --out\n"
    )


def test_every_split_folder_is_used(
    command: Command, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    images = make_images(tmp_path / "images", classes=3, splits=("train", "val", "test"))
    words = ("--data", images, "--model", "smallconv_8", *SMALL)
    done = command(
        "train", *words, "--evaluation.every", 2, "--evaluation.keep", "best", "--out", tmp_path / "run"
    )
    assert done.status == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/recall@1" in line] == [2, 4]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["split"], summary["counts"]["queries"]) == ("test", 18)


@pytest.mark.parametrize("name", ["train", "distill"])
def test_help_has_a_line_for_every_setting(command: Command, name: str) -> None:
    shown = command(name, "--help")
    assert shown.status == 0
    for option in (
        "--optim.lr",
        "--sampler.kind",
        "--data.label-fraction",
        "--s2sd.variant",
        "--augment.flip",
    ):
        assert option in shown.out
    assert "class_balanced|every_class_once" in re.sub(r"\s+", "", shown.out)
