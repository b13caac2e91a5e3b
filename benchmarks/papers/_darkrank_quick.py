"""The bench at a size at which it only shows that every part runs."""

from __future__ import annotations

from typing import Any

from _market1501_settings import QUICK


def quick(study: dict[str, Any]) -> dict[str, Any]:
    """A study with tiny networks and two steps a run, its rows and its grids as they are.

    What a row says of epochs or of its network does not count.
    """
    return {
        **study,
        "base": quick_run(study["base"]),
        "rows": [
            {**row, "config": _without_network(row["config"])} if "config" in row else row
            for row in study["rows"]
        ],
    }


def quick_run(config: dict[str, Any]) -> dict[str, Any]:
    """A run with a tiny network and two steps."""
    from understudy.config import merge

    return merge(config, QUICK)


def _without_network(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key != "student"}
