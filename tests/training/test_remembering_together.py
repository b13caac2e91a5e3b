"""Two processes that ask a teacher: each image once between them, with the answers of one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from PIL import Image

from understudy.data import Pixels
from understudy.data.augmentation import Augmentation
from understudy.data.items import Items
from understudy.data.table import Table
from understudy.errors import UserError
from understudy.teachers import CallableTeacher, LimitedTeacher, Spent
from understudy.teachers.cached import CachedTeacher
from understudy.training.processes import distributed
from understudy.training.teaching.answering import ask_all, ask_into_table
from understudy.training.teaching.questions import Questions

IMAGES = 21
IDS = [f"{number}.png" for number in range(IMAGES)]
VIEWS = Augmentation(flip=0.5, num_views=2)


def api(given: Sequence[Image.Image]) -> list[list[float]]:
    return [[float(image.getpixel((0, 0))[0]) + 1, 1.0] for image in given]  # type: ignore[index]


def pixels() -> Pixels:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 4, 4), generator=generator, dtype=torch.uint8)
    return Pixels(images, torch.arange(IMAGES))


def asking(budget: int | None = None) -> tuple[LimitedTeacher, CachedTeacher]:
    function: Any = partial(api)  # a function of its own, that may have attributes
    function.input_size, function.dim = (4, 4), 2
    teacher = LimitedTeacher(CallableTeacher(function, name="api"), budget=budget)
    return teacher, CachedTeacher(teacher, VIEWS, 3, "same")


def ask(place: Path) -> dict[str, Any]:
    """What each process sees: its own questions, all questions, and the answers."""
    rows = torch.arange(IMAGES)
    memory, in_memory = asking(budget=2 * IMAGES)
    account = Questions({"main": memory})
    ask_all(in_memory, pixels(), rows, lambda *_: None)
    seen = in_memory.embed(Items(rows, None)).tolist()
    with pytest.raises(Spent):
        memory.outputs(pixels().items(rows[:1]))  # the other process's questions count as well

    paid, on_disk = asking(budget=2 * IMAGES)
    disk = Questions({"main": paid})
    table = ask_into_table(on_disk, pixels(), rows, place / "table", IDS, {}, lambda *_: None)
    disk.keep("main", "table", cost=table.queries, paid=paid.queries)
    poor, refused = asking(budget=2 * IMAGES - 1)
    with pytest.raises(UserError, match="does not reach"):
        ask_into_table(refused, pixels(), rows, place / "none", IDS, {}, lambda *_: None)
    return {
        "asked": [memory.queries, paid.queries, poor.queries],
        "counts": [account.counts()["main"], disk.counts()["main"]],
        "state": [account.state_dict()["main"], disk.state_dict()["main"]],
        "seen": seen,
    }


def as_rank(rank: int, port: int, place: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, distributed.launched():
        small(patch)
        slow_to_go_on(patch, rank)
        (place / f"rank-{rank}.json").write_text(json.dumps(ask(place)))


def slow_to_go_on(patch: pytest.MonkeyPatch, rank: int) -> None:
    """After each meeting the other process is at work already."""
    meet = distributed.barrier

    def slowly() -> None:
        meet()
        time.sleep(0.3 * rank)

    patch.setattr(distributed, "barrier", slowly)


def small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("understudy.training.teaching.answering.BATCH", 8)
    patch.setattr("understudy.training.teaching.answering.SHARD_ROWS", 8)


@pytest.mark.slow
def test_two_processes_ask_once_between_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Any = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
    multiprocessing.set_forkserver_preload([__name__, "torch._dynamo", "understudy.training.run"])
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=as_rank, args=(rank, store.port, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]

    small(monkeypatch)
    (tmp_path / "alone").mkdir()
    alone = ask(tmp_path / "alone")
    assert alone["counts"] == [2 * IMAGES, 2 * IMAGES]
    assert alone["state"] == [2 * IMAGES, 0]
    for rank in ranks:
        assert (rank["counts"], rank["state"], rank["seen"]) == (
            alone["counts"],
            alone["state"],
            alone["seen"],
        )
    asked = [rank["asked"] for rank in ranks]
    assert [sum(both) for both in zip(*asked, strict=True)] == alone["asked"] == [2 * IMAGES, 2 * IMAGES, 0]
    assert all(0 < one < 2 * IMAGES for rank in asked for one in rank[:2])
    together, by_itself = Table.open(tmp_path / "table"), Table.open(tmp_path / "alone" / "table")
    assert together.queries == by_itself.queries == 2 * IMAGES
    assert together.fingerprint == by_itself.fingerprint


def test_the_question_for_the_dimension_counts_whenever_it_was_asked() -> None:
    early, late = (LimitedTeacher(CallableTeacher(lambda images: [[1.0]] * len(images))) for _ in range(2))
    assert early.dim == 1
    accounts = [Questions({"main": teacher}) for teacher in (early, late)]
    assert late.dim == 1
    assert [account.counts()["main"] for account in accounts] == [1, 1]
    assert (early.spent, late.spent) == (1, 1)
