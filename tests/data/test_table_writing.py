"""Writing a table shard by shard: views, logits, short numbers, several processes, cut off anywhere."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from understudy import files
from understudy.data.table import Table, TablePlan, TableWriter, locking
from understudy.data.table.agreement import neighbour_agreement, sampled
from understudy.data.table.setting_up import refuse_strange
from understudy.errors import UserError

IDS = [f"{number:02}.png" for number in range(11)]
RECIPE = {"flip": 0.5, "num_views": 3}
PLAN = TablePlan("vit", num_views=3, recipe=RECIPE, view_seed=7, shard_rows=12, classes=("a", "b"))
VECTORS = np.random.default_rng(0).normal(size=(11, 3, 5)).astype(np.float32)
LOGITS = np.random.default_rng(1).normal(size=(11, 3, 2)).astype(np.float32)


def fill(writer: TableWriter, shards: list[int] | None = None) -> None:
    for shard in writer.pending() if shards is None else shards:
        items = writer.items(shard)
        part = slice(items.start, items.stop)
        logits = LOGITS[part].reshape(-1, 2) if writer.plan.classes else None
        vectors = VECTORS[part, : writer.plan.num_views].reshape(-1, 5)
        writer.write(shard, vectors, logits, hashes=[f"h{IDS[item]}" for item in items])


def whole(place: Path, plan: TablePlan = PLAN) -> Table:
    with TableWriter.open(place, IDS, plan=plan) as writer:
        fill(writer)
        return writer.finish()


def contents(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_views_and_logits_are_read_by_item_and_view(tmp_path: Path) -> None:
    table = whole(tmp_path / "t")
    assert (len(table), table.num_views, table.recipe, table.view_seed) == (11, 3, RECIPE, 7)
    assert (table.classes, table.queries, table.dim) == (("a", "b"), 33, 5)
    assert table.hashes == tuple(f"h{name}" for name in IDS)
    rows, views = [10, 0, 4, 4], [2, 0, 1, 0]
    np.testing.assert_array_equal(table.read(rows, views), VECTORS[rows, views])
    np.testing.assert_array_equal(table.read(rows, 2), VECTORS[rows, 2])
    np.testing.assert_array_equal(table.read(rows), VECTORS[rows, 0])
    np.testing.assert_array_equal(table.read_logits(rows, views), LOGITS[rows, views])
    for number in (-1, 3):
        with pytest.raises(IndexError, match="views lie between 0 and 2"):
            table.read([0], number)
    lines = np.concatenate(
        [load_file(place)["vectors"] for place in sorted((tmp_path / "t/shards").iterdir())]
    )
    np.testing.assert_array_equal(lines.reshape(11, 3, 5), VECTORS)  # view v of item i in line 3 i + v


def test_a_table_without_logits_says_so(tmp_path: Path) -> None:
    table = whole(tmp_path / "t", TablePlan("vit"))
    with pytest.raises(UserError, match=r"has no logits: write it with --logits"):
        table.read_logits([0])


def test_a_table_begun_is_gone_on_with_and_gives_the_same_files(tmp_path: Path) -> None:
    expected = contents(whole(tmp_path / "whole").directory)
    place = tmp_path / "t"
    with TableWriter.open(place, IDS, plan=PLAN) as writer:
        assert (writer.shards, writer.pending(), writer.pending(1, 2)) == (3, [0, 1, 2], [1])
        assert [list(writer.items(shard)) for shard in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
        fill(writer, [1])
        with pytest.raises(UserError, match=r"lacks 2 of 3 shards \(0, 2\): run the command"):
            writer.finish()
    with pytest.raises(UserError, match=r"is not finished: run the command that writes it again"):
        Table.open(place)
    with TableWriter.open(place, IDS, plan=PLAN) as writer:
        assert (writer.pending(), writer.pending(1, 2), writer.queries) == ([0, 2], [], 12)
        fill(writer)
        writer.finish()
    assert contents(place) == expected
    with TableWriter.open(place, IDS, plan=PLAN) as writer:
        assert (writer.finished, writer.pending(), writer.queries, len(writer.finish())) == (True, [], 33, 11)
        with pytest.raises(ValueError, match="is finished"):
            fill(writer, [0])
    assert contents(place) == expected


def test_how_a_table_is_cut_is_decided_once(tmp_path: Path) -> None:
    with TableWriter.open(tmp_path / "t", IDS, plan=TablePlan("vit", shard_rows=4)) as writer:
        fill(writer, [0])
    with TableWriter.open(tmp_path / "t", IDS, plan=TablePlan("vit", shard_rows=100, dim=5)) as writer:
        assert (writer.pending(), writer.plan.shard_rows) == ([1, 2], 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"teacher": "bit"}, r"the teacher: \"vit\" there, \"bit\" here"),
        ({"dtype": "int8"}, r"the type of number: \"float32\" there, \"int8\" here"),
        ({"view_seed": 1}, "the seed of the views: 7 there, 1 here"),
        ({"recipe": {"flip": 0.1}}, r"the recipe of the views: \{\"flip\": 0.5, .* here"),
        ({"metadata": {"sha256": "x"}}, r"the teacher's 'sha256': null there, \"x\" here"),
        ({"classes": None}, r"the classes of the logits: \[\"a\", \"b\"\] there, null here"),
        ({"ids": [*IDS[:10], "x.png"]}, r"item 10: '10.png' there, 'x.png' here"),
        ({"ids": IDS[:10], "hashes": None, "rows": None}, "the number of items: 11 there, 10 here"),
        ({"hashes": ["h", "g", *"h" * 9]}, "the content of '01.png', which has changed"),
        ({"rows": [0, 2, *range(2, 11)]}, "the row of '01.png', .* 1 there, 2 here"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_another_table_is_refused_by_its_first_difference(
    tmp_path: Path, change: dict[str, Any], named: str, finished: bool
) -> None:
    place = tmp_path / "t"
    given: dict[str, Any] = {"ids": IDS, "hashes": ["h"] * 11, "rows": list(range(11))}
    with TableWriter.open(place, plan=PLAN, **given) as writer:
        if finished:
            for shard in writer.pending():
                size = 3 * len(writer.items(shard))
                writer.write(shard, np.ones((size, 2), np.float32), np.ones((size, 2), np.float32))
            writer.finish()
        else:
            fill(writer, [0])
    before = contents(place)
    other = {key: value for key, value in change.items() if key not in given}
    given |= {key: value for key, value in change.items() if key in given}
    with pytest.raises(UserError, match=rf"holds a table of something else \({named}\): pass another place"):
        TableWriter.open(place, plan=replace(PLAN, **other), **given)
    assert contents(place) == before


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (
            np.where(np.arange(20).reshape(4, 5) == 11, np.nan, 1.0),
            r"1 of 4 vectors hold NaN .*\(rows '06.png'\)",
        ),
        (
            np.where(np.arange(20).reshape(4, 5) > 4, 0.0, 1.0),
            r"3 of 4 .* zeros .*\(rows '05.png', '06.png', '07",
        ),
        (np.ones((4, 6)), r"the vector of '04.png' has 6 numbers and those of .* have 5: its teacher must"),
    ],
)
def test_bad_vectors_are_refused_by_the_names_of_their_items(
    tmp_path: Path, vectors: np.ndarray, message: str
) -> None:
    with TableWriter.open(tmp_path / "t", IDS, plan=TablePlan("vit", shard_rows=4)) as writer:
        fill(writer, [0])
        with pytest.raises(UserError, match=message):
            writer.write(1, vectors.astype(np.float32))
        assert writer.pending() == [1, 2]


def test_processes_that_disagree_about_the_dimension_are_found_at_the_end(tmp_path: Path) -> None:
    plan = TablePlan("vit", shard_rows=6)
    writers = [TableWriter.open(tmp_path / "t", IDS, plan=plan, group="g") for _ in range(2)]
    for writer in writers:
        writer._state.dim = 5 + writers.index(writer)  # both begin before either has written
    writers[0].write(0, np.ones((6, 5), np.float32))
    writers[1].write(1, np.ones((5, 6), np.float32))
    with pytest.raises(UserError, match=r"vectors of 5 numbers and, from '06.png' on, of 6: its teacher"):
        writers[0].finish()


def test_items_that_could_not_be_read_are_left_out(tmp_path: Path) -> None:
    plan = TablePlan("vit", num_views=2, recipe=RECIPE, shard_rows=8)
    gone = {0: [1], 1: [4, 5, 6, 7], 2: []}
    with TableWriter.open(tmp_path / "t", IDS, plan=plan, rows=range(100, 111)) as writer:
        for shard in writer.pending():
            items = [item for item in writer.items(shard) if item not in gone[shard]]
            writer.write(shard, VECTORS[items, :2].reshape(-1, 5), left_out=gone[shard])
        table = writer.finish()
    left = [0, 2, 3, 8, 9, 10]
    assert table.ids == tuple(IDS[item] for item in left)
    np.testing.assert_array_equal(table.read(range(6), 1), VECTORS[left, 1])
    assert table.view_rows is not None
    assert table.view_rows.tolist() == [100 + item for item in left]
    with pytest.raises(UserError, match=r"1 of 2 ids are not .* \('05.png'\)"):
        table.rows(["00.png", "05.png"])
    with TableWriter.open(tmp_path / "t", IDS, plan=plan) as writer:
        assert writer.finished
    with TableWriter.open(tmp_path / "none", IDS[:1], plan=plan) as writer:
        writer.write(0, np.empty((0, 5), np.float32), left_out=[0])
        with pytest.raises(UserError, match=r"no item .* has a vector: check the images"):
            writer.finish()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_short_numbers_come_back_nearly_and_state_their_agreement(tmp_path: Path, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    ids = [str(number) for number in range(300)]
    with TableWriter.open(tmp_path / "t", ids, plan=TablePlan("vit", dtype=dtype, shard_rows=64)) as writer:
        for shard in writer.pending():
            items = writer.items(shard)
            writer.write(shard, x[items.start : items.stop])
        table = writer.finish()
    read = table.read(range(300))
    if dtype == "float16":
        np.testing.assert_array_equal(read, x.astype(np.float16).astype(np.float32))
    else:
        assert (np.abs(read - x) <= np.abs(x).max(1, keepdims=True) / 254 * 1.0001).all()  # half a step
        assert load_file(tmp_path / "t/shards/00000.safetensors")["vectors"].dtype == np.int8
    assert table.neighbour_agreement == neighbour_agreement(x, read) == pytest.approx(overlap(x, read))
    assert 0.9 < overlap(x, read) <= 1
    assert not list((tmp_path / "t/shards").glob("*.exact.*"))


def overlap(exact: np.ndarray, kept: np.ndarray) -> float:
    """Brute force, in float64."""
    near = []
    for x in (exact.astype(np.float64), kept.astype(np.float64)):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        scores = unit @ unit.T
        np.fill_diagonal(scores, -np.inf)
        near.append(np.argsort(-scores, axis=1)[:, :10])
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(near[0].tolist(), near[1].tolist(), strict=True)]
    return float(np.mean(shares))


def test_the_sample_is_spread_over_large_tables() -> None:
    parts = [sampled(start, 7000, 70_000) + start for start in range(0, 70_000, 7000)]
    every = np.concatenate(parts)
    assert len(every) == 20_000
    assert set(np.diff(every).tolist()) == {3, 4}
    assert {len(part) for part in parts} == {2000}


def test_a_mended_table_keeps_what_was_measured(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    ids, plan = [str(number) for number in range(60)], TablePlan("vit", dtype="int8", shard_rows=20)

    def written() -> Table:
        with TableWriter.open(tmp_path / "t", ids, plan=plan) as writer:
            for shard in writer.pending():
                items = writer.items(shard)
                writer.write(shard, x[items.start : items.stop])
            return writer.finish()

    table = written()
    assert table.neighbour_agreement is not None
    assert table.neighbour_agreement < 1
    before = contents(tmp_path / "t")
    (tmp_path / "t/shards/00001.safetensors").unlink()
    mended = written()
    assert (mended.queries, mended.neighbour_agreement) == (80, table.neighbour_agreement)
    after = contents(tmp_path / "t")
    assert {name for name in before if before[name] != after[name]} == {"table.json"}


def test_what_was_asked_counts_even_if_its_answers_are_lost(tmp_path: Path) -> None:
    with TableWriter.open(tmp_path / "t", IDS, plan=TablePlan("vit", shard_rows=4)) as writer:
        writer.asked(3)
        fill(writer, [0])  # four vectors, of which three were counted
        writer.asked(2)
        assert writer.queries == 6
    with (tmp_path / "t/queries.txt").open("a") as file:
        file.write("9")  # cut off before its end
    with TableWriter.open(tmp_path / "t", IDS, plan=TablePlan("vit", shard_rows=4)) as writer:
        fill(writer)
        assert writer.finish().queries == 6 + 9 + 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:30]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.with_name("00000.safetensors").read_bytes()),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_a_damaged_shard_is_done_again(
    tmp_path: Path, damage: Callable[[Path], object], finished: bool
) -> None:
    place = tmp_path / "t"
    if finished:
        whole(place)
    else:
        with TableWriter.open(place, IDS, plan=PLAN) as writer:
            fill(writer)
    damage(place / "shards/00001.safetensors")
    if finished:
        with pytest.raises(UserError, match="write the table again"):
            Table.open(place).verify()
    with TableWriter.open(place, IDS, plan=PLAN) as writer:
        assert writer.pending() == [1]
        fill(writer)
        table = writer.finish()
    table.verify()
    np.testing.assert_array_equal(table.read(range(11), 1), VECTORS[:, 1])


@pytest.mark.parametrize("name", ["table.json", "ids.parquet"])
def test_a_table_with_damaged_facts_is_mended_without_asking_again(tmp_path: Path, name: str) -> None:
    whole(tmp_path / "t")
    expected = Table.open(tmp_path / "t")
    path = tmp_path / "t" / name
    path.write_bytes(path.read_bytes()[:-9])
    with TableWriter.open(tmp_path / "t", IDS, plan=PLAN) as writer:
        assert (writer.finished, writer.pending()) == (False, [])
        table = writer.finish()
    assert (table.ids, table.hashes, table.fingerprint) == (
        expected.ids,
        expected.hashes,
        expected.fingerprint,
    )


def in_child(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except UserError:
            os._exit(3)
        except BaseException:  # noqa: BLE001 - the child must not go on with the tests
            os._exit(4)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


WRITES = 2 + 3 * 2 + 2  # ids and plan; originals and shard of each; ids with their hashes and the facts


@pytest.mark.parametrize("at", range(WRITES))
@pytest.mark.parametrize("moment", ["half-written", "in place"])
def test_a_killed_writer_goes_on_and_gives_the_same_table(tmp_path: Path, at: int, moment: str) -> None:
    plan = TablePlan("vit", dtype="float16", num_views=3, recipe=RECIPE, shard_rows=12)
    expected = contents(whole(tmp_path / "whole", plan).directory)

    def killed() -> None:
        flush, count = files._flush, 0

        def kill(draft: Path) -> None:
            nonlocal count
            if count == at and moment == "half-written":
                size = draft.stat().st_size
                draft.write_bytes(draft.read_bytes()[: random.Random(at).randrange(size)])
                os.kill(os.getpid(), signal.SIGKILL)
            if count == at + 1 and moment == "in place":
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1
            flush(draft)

        files._flush = kill  # type: ignore[assignment]
        whole(tmp_path / "t", plan)

    last = at == WRITES - 1 and moment == "in place"
    assert in_child(killed) == (0 if last else -signal.SIGKILL)
    with TableWriter.open(tmp_path / "t", IDS, plan=plan) as writer:
        done = writer.queries
        fill(writer)
        table = writer.finish()
    assert done <= table.queries
    assert 33 <= table.queries <= 33 + 12  # what was asked about and lost counts too
    found = contents(tmp_path / "t")
    assert found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} <= {"table.json"}
    np.testing.assert_array_equal(
        table.read(range(11), 2), whole(tmp_path / "again", plan).read(range(11), 2)
    )


def test_a_full_disk_is_one_sentence_and_loses_nothing(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with TableWriter.open(tmp_path / "t", IDS, plan=PLAN) as writer:
        fill(writer, [0])
        with full_disk(300), pytest.raises(UserError, match=r"^no space left while writing '.*00001.safe"):
            fill(writer, [1])
    with TableWriter.open(tmp_path / "t", IDS, plan=PLAN) as writer:
        assert writer.pending() == [1, 2]
        fill(writer)
        np.testing.assert_array_equal(writer.finish().read(range(11)), VECTORS[:, 0])


def test_only_one_writes_a_table_unless_they_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_PATIENCE", 0.1)
    place = tmp_path / "t"

    def other(group: str | None) -> int:
        return in_child(lambda: fill(TableWriter.open(place, IDS, plan=PLAN, group=group), [1]))

    with TableWriter.open(place, IDS, plan=PLAN) as alone:
        assert [other(None), other("g")] == [3, 3]
        fill(alone, [0])
        with pytest.raises(UserError, match=r"another process is writing the embedding table '.*t': wait"):
            TableWriter.open(place, IDS, plan=PLAN)
    with TableWriter.open(place, IDS, plan=PLAN, group="g") as first:
        assert [other(None), other("h"), other("g")] == [3, 3, 0]
        assert first.pending() == [2]
        fill(first, [2])
        assert len(first.finish()) == 11
    assert other(None) == 4  # finished, so nothing is to be written; and nobody holds it any more


@pytest.mark.parametrize(("named_after", "shared_after"), [(0.15, 0.15), (0.0, 1.0)])
def test_the_first_of_a_group_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_after: float, shared_after: float
) -> None:
    """It has the lock and not yet put its name over that of a killed one, or reads a table for long."""
    monkeypatch.setattr(locking, "_PATIENCE", 0.5)
    (tmp_path / ".lock").write_text("a launch that was killed")
    first = (tmp_path / ".lock").open("r+")
    fcntl.flock(first, fcntl.LOCK_EX)

    def set_up() -> None:
        time.sleep(named_after)
        first.truncate(0)
        first.write("g")
        first.flush()
        time.sleep(shared_after)
        fcntl.flock(first, fcntl.LOCK_SH)

    with first, ThreadPoolExecutor(1) as pool:
        setting_up = pool.submit(set_up)
        other = locking.Lock(tmp_path, "g")
        setting_up.result()
        assert not other.first
        other.release()


def test_a_killed_process_lets_the_table_go(tmp_path: Path) -> None:
    def killed() -> None:
        TableWriter.open(tmp_path / "t", IDS, plan=PLAN)
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed) == -signal.SIGKILL
    with TableWriter.open(tmp_path / "t", IDS, plan=PLAN) as writer:
        assert writer.pending() == [0, 1, 2]


def test_a_place_where_nothing_was_written_is_removed(tmp_path: Path) -> None:
    with TableWriter.open(tmp_path / "t", IDS, plan=PLAN):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "photo.jpg").touch()
    with pytest.raises(UserError, match="exists already: pass another place"):
        TableWriter.open(tmp_path / "t", IDS, plan=PLAN)


def test_reading_takes_no_more_memory_than_the_batch(tmp_path: Path) -> None:
    """A hundred megabytes of vectors, of which the process may not even map a copy."""
    ids = [str(number) for number in range(100_000)]
    with TableWriter.open(tmp_path / "t", ids, plan=TablePlan("noise")) as writer:
        for shard in writer.pending():
            items = writer.items(shard)
            writer.write(
                shard, np.arange(items.start + 1, items.stop + 1, dtype=np.float32)[:, None].repeat(256, 1)
            )
        writer.finish()
    table = Table.open(tmp_path / "t")
    rows = np.random.default_rng(0).integers(0, 100_000, 256)
    table.read(rows)
    tracemalloc.start()
    read = table.read(rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(read[:, 255], rows + 1)
    assert most < 2.5 * read.nbytes


def test_only_a_table_or_nothing_is_written_to(tmp_path: Path) -> None:
    refuse_strange(tmp_path / "none")
    (tmp_path / "table" / "shards").mkdir(parents=True)
    refuse_strange(tmp_path / "table")
    (tmp_path / ".hidden").write_text("a file")
    for place in (tmp_path, tmp_path / ".hidden"):
        with pytest.raises(UserError, match="exists already"):
            refuse_strange(place)
