"""Packing that is cut off, anywhere, by anything, and packing by several processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy import files, locking
from understudy.data.dataset import open_dataset
from understudy.data.store import Form, Store, pack
from understudy.data.store.plan import Plan
from understudy.errors import UserError

FORM: dict[str, Any] = {"resize": (64, 64), "channels": 1, "shard_bytes": 1}  # 48 images in 12 shards
WRITES = 12 * 2 + 2  # pixels and record of each shard, the index, the facts


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


@pytest.fixture
def whole(folder: Path, tmp_path: Path) -> dict[str, bytes]:
    """The files of a store that was packed without interruption."""
    return contents(pack(folder, tmp_path / "whole.pack", **FORM).place)


def in_child(work: Callable[[], None]) -> int:
    """Runs something in a copy of this process and says how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except UserError:
            os._exit(3)
        except BaseException:  # noqa: BLE001 - the child must not go on with the tests
            os._exit(4)
        os._exit(0)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    folder: Path, tmp_path: Path, whole: dict[str, bytes], seed: int
) -> None:
    at, place = random.Random(seed).randrange(WRITES), tmp_path / "killed.pack"

    def killed() -> None:
        flush, count = files._flush, 0

        def kill(draft: Path) -> None:
            nonlocal count
            if count == at:
                draft.write_bytes(draft.read_bytes()[:7])  # half-written
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            flush(draft)

        files._flush = kill  # type: ignore[assignment]
        pack(folder, place, **FORM)

    assert ended(in_child(killed)) == -signal.SIGKILL
    with pytest.raises(UserError, match="is not finished"):
        Store.open(place)
    done = {path.name: path.stat().st_mtime_ns for path in place.glob("*.u8")}
    assert len(done) == min(12, (at + 1) // 2)
    assert {name for name in done if (place / name).read_bytes() != whole[name]} == set()
    assert contents(pack(folder, place, **FORM).place) == whole
    again = [name for name, time in done.items() if (place / name).stat().st_mtime_ns != time]
    assert len(again) == (at < 24 and at % 2)  # only the one whose record was not written


def test_two_processes_at_once(
    folder: Path, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "shared.pack"
    children = [in_child(lambda: pack(folder, place, **FORM)) for _ in range(2)]  # type: ignore[arg-type]
    assert sorted(ended(child) for child in children) in ([0, 0], [0, 3])
    assert contents(place) == whole
    monkeypatch.setattr(locking, "_PATIENCE", 0.0)
    with (
        locking.only_one(place, "is packing into", "wait for it"),
        pytest.raises(UserError, match=r"process \d+ on .* is packing into '.*': wait for it"),
    ):
        pack(folder, place, **FORM)


def test_several_workers_write_what_one_does(
    folder: Path, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here copies of this process, for new ones take long to start; what new ones are given can be sent."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr("understudy.data.store.working.multiprocessing.get_context", lambda _: fork)
    pickle.loads(pickle.dumps((open_dataset(folder), Plan(open_dataset(folder).manifest, Form((8, 8)), 1))))
    ticks: list[int] = []
    store = pack(
        folder, tmp_path / "two.pack", **FORM, workers=2, progress=lambda done, _: ticks.append(done)
    )
    assert contents(store.place) == whole
    assert (ticks == sorted(ticks), ticks[-1], len(ticks)) == (True, 48, 12)


def test_a_full_disk_leaves_nothing_half_written(
    folder: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    full_disk: Callable[[int], contextlib.AbstractContextManager[None]],
) -> None:
    place = tmp_path / "full.pack"
    with full_disk(10_000), pytest.raises(UserError, match=r"^no space left while writing '.*u8': free some"):
        pack(folder, place, **FORM)
    assert list(place.iterdir()) == []
    room = max(len(content) for name, content in whole.items() if name.endswith(".u8"))
    with full_disk(room), contextlib.suppress(UserError):  # shards fit, the index may not
        pack(folder, place, **FORM)
    assert contents(pack(folder, place, **FORM).place) == whole


def test_a_disk_that_is_too_small_is_refused_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr("understudy.data.store.packing.shutil.disk_usage", lambda _: usage)
    with pytest.raises(
        UserError, match=r"full.pack' needs 0.0 GB more and 0.0 GB are free on that disk: free"
    ):
        pack(folder, tmp_path / "full.pack", **FORM)
    assert not list((tmp_path / "full.pack").glob("*.u8"))


def test_a_record_without_its_pixels_is_not_believed(
    folder: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    place = tmp_path / "odd.pack"
    with contextlib.suppress(KeyboardInterrupt):

        def stop(done: int, _: int) -> None:
            if done > 20:
                raise KeyboardInterrupt

        pack(folder, place, **FORM, progress=stop)
    shards = sorted(place.glob("*.u8"))
    shards[0].write_bytes(b"")
    shards[1].unlink()
    next(place.glob("00002-*.part.parquet")).write_bytes(b"PAR1")
    assert contents(pack(folder, place, **FORM).place) == whole
    assert np.fromfile(shards[0], np.uint8).any()
