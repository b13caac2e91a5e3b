"""What lies where a store is to be written."""

from __future__ import annotations

from pathlib import Path

from understudy.data.store.form import Form
from understudy.data.store.opening import read_facts
from understudy.data.store.places import FACTS, INDEX, SHARDS, UNREADABLE
from understudy.data.store.plan import Plan
from understudy.errors import UserError


def refuse_strange(place: Path) -> None:
    """A directory that holds other things is not written to.

    Raises:
        UserError: It does.
    """
    if place.is_dir():
        strange = [path.name for path in place.iterdir() if not _is_ours(path.name)]
    else:
        strange = [place.name] if place.exists() else []
    if strange:
        raise UserError(f"{str(place)!r} holds {min(strange)!r} and is no pack: pass another place for it")


def _is_ours(name: str) -> bool:
    return name in (FACTS, INDEX, UNREADABLE) or name.endswith(SHARDS) or name.startswith(".")


def make_way(place: Path, plan: Plan, overwrite: bool) -> None:
    """Removes what a killed process left, and, if that is wanted, a store of another plan.

    Raises:
        UserError: There is such a store, and it is not to be replaced.
    """
    for draft in place.glob(".*.tmp"):
        draft.unlink()
    if (place / FACTS).is_file():
        try:
            facts = read_facts(place)
        except UserError:
            if not overwrite:
                raise
        else:
            if facts["plan"] == plan.name:
                return
            _refuse(overwrite, place, f"a pack ({Form.of(facts['form'])})")
        (place / FACTS).unlink()
    shards = [path for path in place.iterdir() if path.name.endswith(SHARDS)]
    others = [path for path in shards if plan.name[:12] not in path.name]
    if others:
        _refuse(overwrite, place, "an unfinished pack")
    for path in others:
        path.unlink()


def _refuse(overwrite: bool, place: Path, held: str) -> None:
    if not overwrite:
        raise UserError(
            f"{str(place)!r} holds {held} of other images, another form or another version: overwrite it, or "
            "pass another place"
        )
