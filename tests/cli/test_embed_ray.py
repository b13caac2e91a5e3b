"""``understudy embed --engine ray``: the same table as without, on a cluster of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.data.table import Table
from understudy.verbs import embedding_answers
from understudy.verbs.embedding_answers import Answers
from understudy.verbs.embedding_ray import pack, unpack

Command = Callable[..., Any]


@pytest.fixture
def cluster() -> Iterator[None]:
    import ray

    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_answers, "_MOST_ITEMS", 10)


@pytest.mark.slow
def test_ray_gives_the_same_table_and_does_only_what_is_missing(
    cluster: None,
    small_shards: None,
    command: Command,
    make_images: Callable[..., Path],
    taught: Path,
    here: Path,
) -> None:
    """An unreadable image, mended, and a shard that was cut off: nothing else is asked about again."""
    del cluster, small_shards
    spoilt = make_images(here / "images") / "class03" / "1.png"
    good = spoilt.read_bytes()
    spoilt.write_bytes(b"no image")
    model = taught / "teacher" / "model"
    words = ("embed", model, "images", "--engine", "ray", "--workers", "2", "-o", "table")
    refused = command(*words)
    assert refused.status == 2
    assert "class03/1.png" in refused.err
    assert not (here / "table" / "table.json").exists()
    shards = sorted((here / "table" / "shards").glob("*.safetensors"))
    assert len(shards) == 4  # of five with ten images each, or what is left

    spoilt.write_bytes(good)
    shards[0].write_bytes(shards[0].read_bytes()[:-7])  # as a copy that was cut off leaves it
    before = {shard: shard.stat().st_mtime_ns for shard in shards}
    done = command(*words)
    assert done.status == 0, done.err
    assert "48 vectors of dimension 12: table" in done.out
    assert [shard for shard in shards if shard.stat().st_mtime_ns != before[shard]] == [shards[0]]

    assert command("embed", model, "images", "--device", "cpu", "-o", "alone").status == 0
    table, alone = Table.open("table"), Table.open("alone")
    assert (table.ids, table.hashes, table.queries) == (alone.ids, alone.hashes, 38 + 20)
    np.testing.assert_allclose(table.read(range(48)), alone.read(range(48)), atol=1e-6)

    refused = command("embed", model, "images", "-o", "other", "--engine", "ray", "--device", "cuda")
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
