"""``understudy embed --engine ray``: the same table as without, on a cluster of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.data.table import Table
from understudy.verbs import embedding_job
from understudy.verbs.embedding_job import Answers
from understudy.verbs.embedding_ray import pack, unpack

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_job, "_MOST_ITEMS", 10)


@pytest.mark.slow
def test_ray_fills_what_is_missing_with_the_same_vectors(
    cluster: None, small_shards: None, command: Command, taught: Path, here: Path
) -> None:
    del cluster, small_shards
    words = ("embed", taught / "teacher" / "model", taught / "images", "--device", "cpu", "-o")
    assert command(*words, "alone").status == 0
    alone = Table.open("alone")
    done = command(*words, "table", "--engine", "ray", "--workers", "2")
    assert done.status == 0, done.err
    assert "48 vectors of dimension 12: table" in done.out
    table = Table.open("table")
    assert (table.ids, table.hashes, table.queries) == (alone.ids, alone.hashes, 48)
    np.testing.assert_allclose(table.read(range(48)), alone.read(range(48)), atol=1e-6)

    shards = sorted((here / "table" / "shards").glob("*.safetensors"))
    assert len(shards) == 5
    shards[2].write_bytes(shards[2].read_bytes()[:-7])  # as a copy that was cut off leaves it
    before = {shard: shard.stat().st_mtime_ns for shard in shards}
    assert command(*words, "table", "--engine", "ray").status == 0
    again = Table.open("table")
    assert again.queries == 58
    np.testing.assert_allclose(again.read(range(48)), alone.read(range(48)), atol=1e-6)
    assert [shard for shard in shards if shard.stat().st_mtime_ns != before[shard]] == [shards[2]]


@pytest.mark.slow
def test_ray_says_what_an_actor_could_not_read(
    cluster: None,
    small_shards: None,
    command: Command,
    make_images: Callable[..., Path],
    taught: Path,
    here: Path,
) -> None:
    del cluster, small_shards
    images = make_images(here / "images")
    (images / "class03" / "1.png").write_bytes(b"no image")
    words = ("embed", taught / "teacher" / "model", "images", "-o", "table", "--engine", "ray")
    refused = command(*words)
    assert refused.status == 2
    assert "class03/1.png" in refused.err
    assert not (here / "table" / "table.json").exists()
    done = command(*words, "--skip-unreadable")
    assert done.status == 0, done.err
    assert len(Table.open("table")) == 47
    refused = command(*words[:-3], "other", "--engine", "ray", "--device", "cuda")
    assert (refused.status, "the Ray cluster has no GPU" in refused.err) == (2, True)


def test_answers_survive_the_journey() -> None:
    states = np.arange(6, dtype=np.int64).reshape(3, 2)
    vectors, logits = np.eye(2, 4, dtype=np.float32), np.ones((2, 3), np.float32)
    reasons = {8: "'ü.png' is no image"}
    back = unpack(pack(Answers(range(7, 10), vectors, logits, reasons, ["a", "b", "c"], states, 2)))
    assert (back.items, back.reasons, back.hashes, back.asked) == (range(7, 10), reasons, ["a", "b", "c"], 2)
    assert back.logits is not None
    for mine, theirs in ((back.vectors, vectors), (back.logits, logits), (back.states, states)):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--engine", "rai"), "there is no engine named 'rai': did you mean 'ray'?"),
        (("--workers", "2"), "workers are the actors of the engine ray"),
    ],
)
def test_engines_that_do_not_exist(
    refused: Callable[..., str], taught: Path, more: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused("embed", taught / "teacher" / "model", taught / "images", *more)


def test_ray_that_is_not_installed(
    refused: Callable[..., str], taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    said = refused("embed", taught / "teacher" / "model", taught / "images", "--engine", "ray")
    assert said == 'Ray is not installed: pip install "understudy[ray]"'
