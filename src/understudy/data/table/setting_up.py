"""The beginning of a table, or the place where one is gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from understudy.data.table.index import (
    FACTS,
    IDS,
    LOCK,
    PLAN,
    QUERIES,
    DamagedError,
    Index,
    read_plan,
)
from understudy.data.table.plan import FORMAT, TablePlan, refuse_other
from understudy.data.table.state import State
from understudy.errors import UserError
from understudy.files import append_line, write_json

_OURS = {FACTS, PLAN, IDS, LOCK, QUERIES, "shards"}


def refuse_strange(directory: Path) -> None:
    """A place that holds other things is not written to.

    Raises:
        UserError: It does.
    """
    try:
        strange = [
            path.name for path in directory.iterdir() if path.name not in _OURS and path.name[0] != "."
        ]
    except FileNotFoundError:
        strange = []
    except NotADirectoryError:
        strange = [directory.name]
    if strange:
        raise UserError(
            f"{str(directory)!r} exists already: pass another place for the table or remove it first"
        )


def set_up(directory: Path, wanted: Index, plan: TablePlan, *, first: bool) -> State:
    """Writes down what a table is to hold, or compares that with what it was begun with.

    Args:
        directory: The table's, locked.
        wanted: The items.
        plan: What is wanted.
        first: Whether no other process is at work; only then is something written.

    Raises:
        UserError: It was begun with something else.
    """
    there = _plan(directory)
    difference = None if there is None else there.difference(plan)
    if difference is not None:
        raise refuse_other(str(directory), difference)
    index = None if there is None else _items(directory, wanted)
    if first:
        return _begun(directory, there, plan, index, wanted)
    if there is None or index is None:
        raise UserError(f"the embedding table {str(directory)!r} vanished while it was opened: try again")
    return State(directory, replace(there, dim=there.dim or plan.dim), index)


def _begun(
    directory: Path, there: TablePlan | None, plan: TablePlan, index: Index | None, wanted: Index
) -> State:
    """Clears away what a killed process left, and writes down what is not there yet."""
    for draft in [*directory.glob(".*.tmp"), *directory.glob("shards/.*.tmp")]:
        draft.unlink()
    if index is None:
        wanted.write(directory)
    if there is None:
        write_json(directory / PLAN, {"format": FORMAT, **plan.facts()})
        (directory / FACTS).unlink(missing_ok=True)
    else:
        plan = replace(there, dim=there.dim or plan.dim)
    journal = directory / QUERIES
    if journal.is_file() and not journal.read_bytes().endswith(b"\n"):  # a line was cut off
        append_line(journal, "")
    state = State(directory, plan, index or wanted)
    if (directory / FACTS).is_file():
        sound = all(state.sound(shard, deep=True) for shard in range(state.shards))
        if index is None or not sound:
            state.reopen()
    return state


def _plan(directory: Path) -> TablePlan | None:
    """The plan that a table was begun with; None where it is damaged: shards know what they belong to."""
    try:
        return read_plan(directory)
    except DamagedError:
        return None


def _items(directory: Path, wanted: Index) -> Index | None:
    """The items that a table was begun with, where they are still known."""
    try:
        index = Index.read(directory)
    except UserError:
        return None
    difference = index.difference(wanted)
    if difference is not None:
        raise refuse_other(str(directory), difference)
    return index
