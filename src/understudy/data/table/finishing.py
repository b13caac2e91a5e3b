"""What is written when all shards are there, and makes them a table."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from understudy.data.table.agreement import neighbour_agreement
from understudy.data.table.checks import few
from understudy.data.table.index import FACTS, PLAN, QUERIES
from understudy.data.table.numbers import restored
from understudy.data.table.plan import FORMAT
from understudy.data.table.shards import Shard, as_texts, exact_path, map_shard
from understudy.data.table.state import State, left_out, read_queries
from understudy.errors import UserError
from understudy.files import write_json


def finish(state: State) -> None:
    """Writes the ids of what has vectors, and at last the facts that make a table of the directory.

    Raises:
        UserError: Shards are missing or differ in their dimension, or no item has a vector.
    """
    directory, plan = state.directory, state.plan
    shards = [state.sound(number) for number in range(state.shards)]
    missing = [number for number, shard in enumerate(shards) if shard is None]
    if missing:
        raise UserError(
            f"the embedding table {str(directory)!r} lacks {len(missing)} of {len(shards)} shards "
            f"({few(missing)}): run the command that writes it again, it does only these"
        )
    whole = [shard for shard in shards if shard is not None]
    gone = frozenset(item for shard in whole for item in left_out(shard))
    if len(gone) == len(state.index.ids):
        raise UserError(f"no item of the embedding table {str(directory)!r} has a vector: check the images")
    index = replace(state.index, left_out=gone, hashes=_hashes(state, whole), states=_states(state, whole))
    if index != state.index:
        index.write(directory)
    facts: dict[str, Any] = {
        "format": FORMAT,
        **plan.facts(),
        "count": len(index.ids) - len(gone),
        "dim": _one_dim(state, whole),
        "normalised": all(shard.notes["unit"] == "yes" for shard in whole),
        "neighbour_agreement": _agreement(state, whole),
        "queries": read_queries(directory),
        "shards": [shard.notes["checksum"] for shard in whole],
    }
    write_json(directory / FACTS, facts)
    for rest in (directory / QUERIES, directory / PLAN, *directory.glob("shards/*.exact.safetensors")):
        rest.unlink(missing_ok=True)


def _one_dim(state: State, shards: list[Shard]) -> int:
    dims = {
        number: s.tensors["vectors"].shape[1] for number, s in enumerate(shards) if len(s.tensors["vectors"])
    }
    first = next(iter(dims))
    other = next((number for number, dim in dims.items() if dim != dims[first]), None)
    if other is not None:
        item = repr(state.index.ids[state.items(other).start])
        raise UserError(
            f"the embedding table {str(state.directory)!r} has vectors of {dims[first]} numbers and, from "
            f"{item} on, of {dims[other]}: its teacher must answer with one dimension, remove the table "
            "and begin again"
        )
    return int(dims[first])


def _hashes(state: State, shards: list[Shard]) -> tuple[str, ...] | None:
    """The hashes known at the beginning, else those that came with the shards."""
    if not all("hashes" in shard.tensors for shard in shards):
        return state.index.hashes
    return tuple(text for shard in shards for text in as_texts(shard.tensors["hashes"]))


def _states(state: State, shards: list[Shard]) -> tuple[tuple[int, int], ...] | None:
    if not all("states" in shard.tensors for shard in shards):
        return state.index.states
    every = np.concatenate([shard.tensors["states"] for shard in shards])
    return tuple((size, time) for size, time in every.tolist())


def _agreement(state: State, shards: list[Shard]) -> float | None:
    if state.plan.dtype == "float32":
        return None
    exact, kept = [], []
    for number, shard in enumerate(shards):
        try:
            sample = map_shard(exact_path(state.directory, number)).tensors
        except UserError:  # mended after it had been finished: what was measured then
            return _measured_before(state)
        rows = sample["rows"]
        scales = shard.tensors["scales"][rows] if "scales" in shard.tensors else None
        exact.append(sample["vectors"])
        kept.append(restored(shard.tensors["vectors"][rows], scales))
    both = [[part for part in parts if len(part)] for parts in (exact, kept)]
    return neighbour_agreement(np.concatenate(both[0]), np.concatenate(both[1])) if both[0] else None


def _measured_before(state: State) -> float | None:
    try:
        facts = json.loads((state.directory / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    before = facts.get("neighbour_agreement")
    return None if before is None else float(before)
