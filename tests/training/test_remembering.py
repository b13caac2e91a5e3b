"""What runs ask their teachers, what they keep, and what a budget does."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.config import RunConfig, parse
from understudy.data import Augmentation, open_dataset
from understudy.data.table import Table, TablePlan, TableWriter, write_table
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.models import load
from understudy.teachers import LiveTeacher, Spent
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]
TRAINING, VALIDATION = 36, 12
ONE_VIEW = {"augment": {"flip": 0.5, "num_views": 2}}

FACTORY = """
from pathlib import Path
LOG = Path(__file__).with_name("asked.txt")

def counted(fails_after=10**9, width_after=10**9):
    def ask(images):
        with LOG.open("a") as log:
            log.writelines("1\\n" for _ in images)
        asked = len(LOG.read_text().split())
        if asked > fails_after:
            raise RuntimeError("gone")
        return images.flatten(1)[:, : 5 if asked > width_after else 6] + 0.1
    ask.preprocessing = {"size": (4, 4), "resize": (4, 4), "channels": 1, "mean": [0], "std": [1]}
    ask.dim = 6
    return ask
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "api.py"
    path.write_text(FACTORY)
    return path


def asked(factory: Path) -> int:
    log = factory.with_name("asked.txt")
    return len(log.read_text().split()) if log.exists() else 0


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(
        RunConfig, {"losses": ["similarity_kl"], "supervised": [], **value}, where="test"
    )
    return parsed


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


class Said(Reporter):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_a_function_is_asked_once_about_each_image_and_its_answers_stay(
    settings: Settings, factory: Path, tmp_path: Path
) -> None:
    """Training images go to one table and evaluation images to another beside it; both can be used again."""
    teachers = {"main": f"python:{factory}:counted"}
    out = tmp_path / "run"
    execute(config(settings(teachers=teachers, steps=5)), out)
    assert asked(factory) == TRAINING + VALIDATION
    assert summary(out)["teacher_queries"] == {"main": TRAINING + VALIDATION}
    table = Table.open(out / "answers" / "main")
    assert (len(table), table.queries, table.recipe, table.teacher) == (TRAINING, TRAINING, None, "counted")
    (beside,) = (out / "answers").glob("main-*")
    assert len(Table.open(beside)) == VALIDATION

    again = tmp_path / "again"
    stored = {"main": f"table:{out / 'answers' / 'main'}"}
    execute(config(settings(teachers=stored, steps=5)), again)
    assert asked(factory) == TRAINING + VALIDATION
    assert summary(again)["teacher_queries"] == {"main": TRAINING}
    for name, value in load(again / "model").state_dict().items():
        assert torch.equal(value, load(out / "model").state_dict()[name]), name
    assert any(name.startswith("neighbour_overlap") for name in summary(out)["metrics"])
    assert not any(name.startswith("neighbour_overlap") for name in summary(again)["metrics"])  # unanswered


def test_a_run_that_fails_half_way_asks_only_for_what_is_missing(
    settings: Settings, factory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.teaching.answering.SHARD_ROWS", 8)
    out = tmp_path / "run"
    failing = {"main": {"reference": f"python:{factory}:counted?fails_after=20", "retries": 0}}
    with pytest.raises(RuntimeError, match="gone"):
        execute(config(settings(teachers=failing)), out)
    assert asked(factory) == 24  # two shards of eight stay; the third was asked about and is lost
    factory.write_text(FACTORY.replace("asked > fails_after", "False"))
    execute(config(settings(teachers=failing)), out, resume=True)
    assert asked(factory) == TRAINING + VALIDATION + 8
    assert summary(out)["teacher_queries"] == {"main": TRAINING + VALIDATION + 8}
    assert Table.open(out / "answers" / "main").queries == TRAINING + 8


def test_a_dimension_that_changes_later_on_leaves_nothing_wrong_behind(
    settings: Settings, factory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("understudy.training.teaching.answering.SHARD_ROWS", 8)
    out = tmp_path / "run"
    changing = {"main": f"python:{factory}:counted?width_after=20"}
    with pytest.raises(UserError, match=r"gave vectors of 5 numbers from '.*\.png' on and of 6 before"):
        execute(config(settings(teachers=changing)), out)
    assert not (out / "answers" / "main" / "table.json").exists()


def test_answers_of_a_model_are_written_where_that_is_asked_for(
    settings: Settings, taught: Path, tmp_path: Path
) -> None:
    place = tmp_path / "answers of the teacher"
    main = {"reference": str(taught / "teacher" / "model"), "answers": str(place), "view": "same"}
    value = settings(teachers={"main": main}, view_seed=3, **ONE_VIEW)
    execute(config(value), tmp_path / "run")
    table = Table.open(place)
    assert (table.num_views, table.view_seed, len(table)) == (2, 3, TRAINING)
    assert table.queries == 2 * TRAINING
    assert table.metadata["sha256"]
    assert summary(tmp_path / "run")["teacher_queries"] == {"main": 2 * TRAINING + VALIDATION}
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")}
    execute(config({**value, "seed": 1}), tmp_path / "other seed")
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.safetensors")} == before
    with pytest.raises(
        UserError, match=r"holds a table of something else \(the seed of the views: 3 there, 4"
    ):
        execute(config({**value, "view_seed": 4}), tmp_path / "other views")


def test_a_stored_view_is_what_the_teacher_says_of_the_very_crop(
    settings: Settings, taught: Path, tmp_path: Path
) -> None:
    """A student that learns from stored views becomes the one that learns from the live teacher."""
    reference = str(taught / "teacher" / "model")
    main = {"reference": reference, "answers": str(tmp_path / "table")}
    value = settings(teachers={"main": main}, view_seed=3, **ONE_VIEW)
    execute(config(value), tmp_path / "live")
    stored = {**settings(teachers={"main": f"table:{tmp_path / 'table'}"})}
    execute(config(stored), tmp_path / "stored")
    for name, tensor in load(tmp_path / "stored" / "model").state_dict().items():
        assert torch.equal(tensor, load(tmp_path / "live" / "model").state_dict()[name]), name

    live = LiveTeacher(load(reference))
    dataset = open_dataset(taught / "images")
    table = Table.open(tmp_path / "table")
    row = dataset.manifest.ids.index(table.ids[5])
    pixels = dataset.pixels(np.array([row]), resize=live.preprocessing.resize, channels=1)
    recipe = Augmentation.model_validate(table.recipe)
    for view in range(2):
        rows = torch.tensor([row])
        items = pixels.items(rows, Views(recipe, 3, rows, torch.tensor([view])))
        given = torch.from_numpy(table.read([5], view))
        torch.testing.assert_close(given, live.embed(items), atol=1e-5, rtol=1e-5)


def test_views_that_do_not_repeat_are_said_and_counted(
    settings: Settings, taught: Path, tmp_path: Path
) -> None:
    said = Said()
    value = settings(teachers={"main": str(taught / "teacher" / "model")}, augment={"flip": 0.5})
    value["sampler"] = {"batch_size": 12}
    execute(config(value), tmp_path / "run", reporter=said)
    (sentence,) = [one for one in said.sentences if "do not repeat" in one]
    assert sentence.startswith("the teacher 'main' is asked about every image of every batch")
    assert "set augment.num_views, or set teachers.main.view to clean" in sentence
    assert summary(tmp_path / "run")["teacher_queries"] == {"main": 4 * 12 + VALIDATION}


@pytest.mark.parametrize(("accumulate", "lost"), [(1, 0), (3, 4)])
def test_a_budget_stops_with_a_checkpoint_and_goes_on_when_it_is_raised(
    settings: Settings, taught: Path, tmp_path: Path, accumulate: int, lost: int
) -> None:
    """Two steps of twelve images are paid for, and pieces of a third, whose answers are lost."""
    reference = str(taught / "teacher" / "model")
    value = settings(augment={"flip": 0.5}, sampler={"batch_size": 12}, accumulate=accumulate)
    free = {**value, "teachers": {"main": {"reference": reference, "budget": 1000}}}
    execute(config(free), tmp_path / "free")
    out = tmp_path / "run"
    poor = {**value, "teachers": {"main": {"reference": reference, "budget": 30}}}
    with pytest.raises(Spent, match=rf"{24 + lost} were asked .* step 2 of 4 is kept, go on with --resume"):
        execute(config(poor), out)
    execute(config(free), out, resume=True)
    assert summary(out)["teacher_queries"] == {"main": 4 * 12 + lost + VALIDATION}
    assert summary(out)["metrics"] == summary(tmp_path / "free")["metrics"]
    for name, tensor in load(out / "model").state_dict().items():
        assert torch.equal(tensor, load(tmp_path / "free" / "model").state_dict()[name]), name


def test_a_budget_that_cannot_reach_is_refused_before_anything_is_asked(
    settings: Settings, factory: Path, tmp_path: Path
) -> None:
    main = {"reference": f"python:{factory}:counted", "budget": TRAINING - 1}
    with pytest.raises(Spent, match=r"budget of 35 questions .* does not reach for the 36 that are needed"):
        execute(config(settings(teachers={"main": main})), tmp_path / "run")
    assert asked(factory) == 0


def test_a_study_asks_once_for_all_its_runs(settings: Settings, factory: Path, tmp_path: Path) -> None:
    """What a run learnt from is said of each run, whichever of them asked."""
    workshop = Workshop()
    for seed in range(2):
        value = settings(teachers={"main": f"python:{factory}:counted"}, seed=seed, steps=2)
        execute(config(value), tmp_path / f"seed-{seed}", workshop=workshop)
        assert summary(tmp_path / f"seed-{seed}")["teacher_queries"] == {"main": TRAINING + VALIDATION}
    assert asked(factory) == TRAINING + VALIDATION


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_table_too_large_for_memory_is_read_ahead_of_the_batches(
    settings: Settings, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    dataset = open_dataset(taught / "images")
    vectors = np.random.default_rng(0).normal(size=(48, 7)).astype(np.float32)
    write_table(tmp_path / "table", vectors, dataset.manifest.ids, metadata={"teacher": "api"})
    value = config(settings(teachers={"main": f"table:{tmp_path / 'table'}"}, accumulate=accumulate))
    held = execute(value, tmp_path / "held")
    monkeypatch.setattr("understudy.training.workshop._CACHE_BYTES", 100)
    readers = []
    read = Table.read

    def watched(table: Table, *arguments: Any) -> np.ndarray:
        readers.append(threading.current_thread().name.partition("_")[0])
        return read(table, *arguments)

    monkeypatch.setattr(Table, "read", watched)
    found = execute(value, tmp_path / "read")
    assert readers.count("understudy-answers") >= summary(found.path)["steps"]
    assert readers.count(threading.main_thread().name) == 1  # the evaluation
    weights = [(run.path / "model" / "model.safetensors").read_bytes() for run in (held, found)]
    assert weights[0] == weights[1]
    assert summary(held.path)["metrics"] == summary(found.path)["metrics"]
    assert summary(found.path)["teacher_queries"] == {"main": TRAINING}
    assert any(name.startswith("neighbour_overlap") for name in summary(found.path)["metrics"])


def test_a_table_of_other_images_is_refused_before_anything_is_decoded(
    settings: Settings, tmp_path: Path
) -> None:
    with TableWriter.open(tmp_path / "table", ["x.png"], plan=TablePlan("api")) as writer:
        writer.write(0, np.ones((1, 4), dtype=np.float32))
        writer.finish()
    with pytest.raises(UserError, match=r"36 of 36 ids are not in the embedding table"):
        execute(config(settings(teachers={"main": f"table:{tmp_path / 'table'}"})), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_need_not_have_what_nobody_can_read(
    settings: Settings, make_images: Callable[..., Path], tmp_path: Path
) -> None:
    """``embed --skip-unreadable`` leaves out the images that ``data.skip_unreadable`` leaves out."""
    folder = make_images(tmp_path / "some")
    broken = sorted(folder.rglob("*.png"))[3]
    broken.write_bytes(b"no image")
    ids = [name for name in open_dataset(folder).manifest.ids if not str(broken).endswith(name)]
    vectors = np.random.default_rng(0).normal(size=(len(ids), 5)).astype(np.float32)
    write_table(tmp_path / "table", vectors, ids, metadata={"teacher": "api"})
    value = settings(teachers={"main": f"table:{tmp_path / 'table'}"})
    value["data"] = {"source": str(folder), "val_fraction": 0.25}
    with pytest.raises(UserError, match="1 of 36 ids are not in the embedding table"):
        execute(config(value), tmp_path / "refused")
    value["data"]["skip_unreadable"] = True
    execute(config(value), tmp_path / "run")
    assert summary(tmp_path / "run")["teacher_queries"] == {"main": 35}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_replayed_graphs_ask_as_often_as_steps_that_are_not_recorded(
    settings: Settings, taught: Path, tmp_path: Path
) -> None:
    """Nothing of a recorded step is run again in Python, and every replay is a question about each image."""
    counts = []
    for graph in ("auto", "off"):
        teachers = {"main": str(taught / "teacher" / "model")}
        value = settings(teachers=teachers, augment={"flip": 0.5}, sampler={"batch_size": 12})
        execute(config({**value, "steps": 9, "device": "cuda", "cuda_graph": graph}), tmp_path / graph)
        counts.append(summary(tmp_path / graph)["teacher_queries"])
    assert counts == [{"main": 9 * 12 + VALIDATION}] * 2
