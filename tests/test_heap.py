"""Freed memory stays with the process while it is wanted, and no longer."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import platform
import resource
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
import torch

from understudy import heap
from understudy.data import Pixels
from understudy.evaluation import embed_pixels
from understudy.heap import kept_memory
from understudy.models import build_embedder

CPU = torch.device("cpu")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library frees in its own way")


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)


def faults(times: int = 5) -> float:
    """Pages asked of the system for a block of 48 MB that is filled and freed, after the first few."""
    for _ in range(times):  # an aligned block needs a hole a little larger than itself
        torch.ones(12_000_000)
    counted = [resource.getrusage(resource.RUSAGE_THREAD).ru_minflt]
    for _ in range(times):
        torch.ones(12_000_000)
        counted.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt)
    return median(after - before for before, after in pairwise(counted))  # a hole may be too small once


def pages() -> list[float]:
    """Faults before memory is kept, while it is, while it is twice, and once more."""
    torch.set_num_threads(1)  # pages are counted in the thread that touches them
    before = faults()
    with kept_memory(CPU):
        kept = faults()
        with kept_memory(CPU):
            inside = faults()
        still = faults()
    return [before, kept, inside, still]


@glibc
@pytest.mark.slow
def test_a_block_is_asked_of_the_system_once_while_memory_is_kept_and_every_time_before() -> None:
    # in a process that has freed nothing yet: a hole that an older block left would be filled first
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        before, *kept = pool.submit(pages).result()
    assert before > 20  # 11,719 pages of 4 KiB, 24 of 2 MiB
    assert max(kept) < 0.1 * before


@glibc
def test_memory_is_kept_until_the_last_of_several_threads_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, int]] = []
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with kept_memory(CPU):
            entered.set()
            leave.wait(10)

    def tell(option: int, value: int) -> int:
        told.append((option, value))
        return 1

    monkeypatch.setattr(heap, "_mallopt", lambda: tell)
    thread = threading.Thread(target=other)
    thread.start()
    entered.wait(10)
    with kept_memory(CPU):
        pass
    assert [value for _, value in told] == [2**30, -1]
    leave.set()
    thread.join()
    assert [value for _, value in told[2:]] == [2**25, 2**26]


def test_an_older_library_that_refuses_a_threshold_gets_the_largest_that_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[int] = []

    def refusing(_option: int, value: int) -> int:
        told.append(value)
        return int(value <= 2**25)

    monkeypatch.setattr(heap, "_mallopt", lambda: refusing)
    with kept_memory(CPU):
        assert told == [2**30, 2**25, -1]


@pytest.mark.parametrize("why", ["device", "environment", "platform", "library"])
def test_nothing_is_set_where_there_is_nothing_to_gain_or_somebody_has_chosen(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "environment":
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    elif why == "platform":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif why == "library":
        monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    with kept_memory(torch.device("meta" if why == "device" else "cpu")):
        assert heap._keeping == 0


def test_an_error_ends_the_keeping() -> None:
    with contextlib.suppress(KeyError), kept_memory(CPU):
        raise KeyError
    assert heap._keeping == 0


class Watching(torch.nn.Module):
    """A model that notes whether memory is kept when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[bool] = []

    def embed(self, items: object) -> torch.Tensor:
        del items
        self.seen.append(heap._keeping > 0)
        return torch.zeros(1, 2)


def embedding(watching: Watching) -> None:
    embed_pixels(watching, Pixels(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), torch.arange(1)))


def encoding(watching: Watching) -> None:
    model = build_embedder({"backbone": "smallconv_8", "dim": 2})
    model.embed = watching.embed  # type: ignore[method-assign, assignment]
    model.encode([np.zeros((4, 4), np.uint8)])


@glibc
@pytest.mark.parametrize("work", [embedding, encoding])
def test_memory_is_kept_where_many_images_are_embedded(work: Callable[[Watching], None]) -> None:
    watching = Watching()
    work(watching)
    assert watching.seen == [True]
    assert heap._keeping == 0
