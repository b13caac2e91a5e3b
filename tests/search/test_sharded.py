"""Several processes find what one process finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from understudy import search

N, M, DIM = 29, 47, 3
SHARDS = {2: [(0, 40), (40, 47)], 3: [(20, 47), (0, 0), (0, 20)]}  # uneven, small, empty, out of order


def points() -> tuple[Tensor, Tensor]:
    """Small whole numbers: many ties."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randint(-2, 3, (N, DIM), generator=generator).float()
    return query, torch.randint(-2, 3, (M, DIM), generator=generator).float()


CODES = search.SameCodes(torch.arange(N) % 4, torch.arange(M) % 4, never=torch.arange(M) > 41)
CASES: dict[str, dict[str, Any]] = {
    "plain": {"k": 10, "metric": "dot"},
    "whole": {"k": M, "metric": "euclidean"},
    "blocks": {"k": 12, "metric": "dot", "block_bytes": 2000},
    "lists": {"k": 20, "metric": "dot", "exclude": [torch.arange(i % 7, M, 3) for i in range(N)]},
    "padded": {"k": 46, "metric": "dot", "exclude": torch.arange(N)},
    "codes": {"k": 30, "metric": "dot", "exclude": CODES},
    "rule": {"k": 9, "metric": "dot", "exclude": lambda rows, columns: (rows[:, None] + columns) % 5 < 2},
}
Results = list[dict[str, Any]]


def _start(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        torch.save({**_found(rank), **_refused(rank)}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def _found(rank: int) -> dict[str, Any]:
    """All results of one process, in groups of two and three."""
    query, gallery = points()
    first_two: Any = dist.new_group([0, 1])
    results: dict[str, Any] = {}
    for size in (2, 3) if rank < 2 else (3,):
        group = first_two if size == 2 else None
        start, stop = SHARDS[size][rank]
        here: dict[str, Any] = {"offset": start, "group": group}
        shard = gallery[start:stop]
        for name, case in CASES.items():
            results[f"{size} sharded {name}"] = search.topk_sharded(query, shard, **here, **case)
            results[f"{size} split {name}"] = search.topk_split(query, gallery, group=group, **case)
        results[f"{size} sharded self"] = search.topk_sharded(gallery, shard, 5, exclude="self", **here)
        results[f"{size} sharded none"] = search.topk_sharded(query[:0], shard, 5, **here)
        results[f"{size} split none"] = search.topk_split(query[:0], gallery, 5, group=group)
    return results


def _refused(rank: int) -> dict[str, str]:
    """What one process of three says to mistakes."""
    query, gallery = points()
    start, stop = SHARDS[3][rank]
    shard = gallery[start:stop]
    broken = torch.full_like(shard, torch.nan) if rank == 0 else shard
    mistakes: dict[str, Callable[[], object]] = {
        "nan": lambda: search.topk_sharded(query, broken, 5, offset=start),
        "k": lambda: search.topk_sharded(query, shard, M + 1, offset=start),
        "gap": lambda: search.topk_sharded(query, shard, 5, offset=start + 2 * (rank == 0)),
        "queries": lambda: search.topk_sharded(query[rank:], shard, 5, offset=start),
        "exclude": lambda: search.topk_sharded(query, shard, 5, offset=start, exclude="self"),
        "split": lambda: search.topk_split(query, gallery, M + (rank == 1)),
    }
    said = {}
    for name, call in mistakes.items():
        try:
            call()
        except ValueError as error:
            said[name] = str(error)
    return said


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder: Path = tmp_path_factory.mktemp("processes")
    # forked as the workers of a DataLoader are: three more imports of torch would take most of the time
    mp.start_processes(_start, args=(3, str(folder)), nprocs=3, start_method="fork")  # type: ignore[attr-defined, no-untyped-call]
    return [torch.load(folder / f"{rank}.pt") for rank in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("way", ["sharded", "split"])
@pytest.mark.parametrize("name", [*CASES, "none"])
def test_every_process_gets_the_result_of_one(results: Results, size: int, way: str, name: str) -> None:
    query, gallery = points()
    want = search.topk(query if name in CASES else query[:0], gallery, **CASES.get(name, {"k": 5}))
    for rank in range(size):
        scores, indices = results[rank][f"{size} {way} {name}"]
        assert torch.equal(scores, want[0])
        assert torch.equal(indices, want[1])


@pytest.mark.slow
def test_self_is_excluded_across_shards(results: Results) -> None:
    _, gallery = points()
    want = search.topk(gallery, gallery, 5, exclude="self")
    for size in (2, 3):
        scores, indices = results[0][f"{size} sharded self"]
        assert torch.allclose(scores, want[0])
        assert not (indices == torch.arange(M)[:, None]).any()


@pytest.mark.slow
def test_all_processes_refuse_together(results: Results) -> None:
    said = {name: [found[name] for found in results] for name in ("nan", "k", "gap", "queries", "exclude")}
    assert "gallery rows 0, 1, 2, … hold NaN" in said["nan"][0]
    assert said["nan"][1:] == ["process 0 refused its part of the search: its own error says why"] * 2
    assert set(said["k"]) == {"k must lie between 1 and the gallery's 47 rows, got 48"}
    assert len(set(said["gap"])) == len(set(said["queries"])) == len(set(said["exclude"])) == 1
    assert "row 20 comes next, but process 0 holds rows 22 to 48" in said["gap"][0]
    assert "the same queries, k and type: 0 has [29, 3, 5, 4], 1 has [28, 3" in said["queries"][0]
    assert "got 29 queries and 47 rows" in said["exclude"][0]
    assert "got 48" in results[1]["split"]
    assert "process 1 refused" in results[0]["split"]
