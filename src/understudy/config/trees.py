"""Plain trees of settings: one laid over another, and where two differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.config.sections import WORDS


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one tree of settings over another: mappings merge, everything else is replaced.

    A section written as one word is opened first, so that the word survives what is laid over it.

    Example:
        >>> merge({"data": "photos"}, {"data": {"label_fraction": 0.5}})
        {'data': {'source': 'photos', 'label_fraction': 0.5}}
        >>> merge({"optim": {"lr": 1, "clip": 2}, "losses": [1]}, {"optim": {"lr": 3}, "losses": []})
        {'optim': {'lr': 3, 'clip': 2}, 'losses': []}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if key in WORDS and isinstance(value, Mapping) and isinstance(old, str | Path):
            old = {WORDS[key]: str(old)}
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The dotted name of the first setting in which two trees differ, or None when they are equal.

    Example:
        >>> first_difference({"seed": 0, "optim": {"lr": 1}}, {"seed": 0, "optim": {"lr": 3}})
        'optim.lr'
    """
    for key in sorted({*old, *new}):
        first, second = old.get(key), new.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            inner = first_difference(first, second)
            if inner is not None:
                return f"{key}.{inner}"
        elif first != second:
            return key
    return None
