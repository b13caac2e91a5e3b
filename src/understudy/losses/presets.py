"""Losses that a paper trains with together, in the form that a configuration writes them."""

from __future__ import annotations

import copy
from typing import Any

from understudy.losses._building import unknown

PRESETS: dict[str, dict[str, list[dict[str, Any]]]] = {
    "darkrank_base": {
        "supervised": [
            {"name": "l_softmax", "weight": 1.0, "args": {"margin": 3}},
            {"name": "verification", "weight": 5.0, "args": {"margin": 0.9}},
            {"name": "triplet", "weight": 0.1, "args": {"margin": 0.9}},
        ],
        "losses": [],
    },
    "darkrank_code": {
        "supervised": [
            {
                "name": "l_softmax",
                "weight": 1.0,
                "args": {"margin": 3, "blend": 1000.0, "blend_decay": 0.99999, "blend_minimum": 5.0},
            },
            {"name": "lmnn", "weight": 0.5, "args": {"margin": 0.9, "push": 0.1}},
        ],
        "losses": [
            {
                "name": "soft_darkrank",
                "weight": 2.0,
                "args": {
                    "alpha": 12.25,
                    "beta": 4.0,
                    "list_length": 4,
                    "queries": "first_half",
                    "detach_query": True,
                },
            }
        ],
    },
    "data_efficient": {
        "supervised": [],
        "losses": [
            {
                "name": "interpolated",
                "weight": None,
                "args": {
                    "loss": {"name": "similarity_kl"},
                    "mixes": 1.0,
                    "renormalize": True,
                },
            }
        ],
    },
}
"""The presets by name.

``darkrank_base`` is the task objective of the paper (Chen, Wang, Zhang, AAAI 2018), to which it adds the
ranking, ``hard_darkrank`` or ``soft_darkrank``, with weight 2; the forms of verification and triplet are
reconstructions.

``darkrank_code`` is what the authors' published command trains: weights are those that its gradient scales
amount to (a sum over 4 anchors divided by the batch of 8 makes 0.5 for LMNN; 16/8 makes 2 for the ranking),
queries are the first half of the batch, which comes in pairs, and get no gradient.
"""


def preset(name: str) -> dict[str, list[dict[str, Any]]]:
    """A preset, as a copy to change at will.

    Args:
        name: A key of :data:`PRESETS`.

    Returns:
        The lists ``supervised`` and ``losses`` of a configuration: entries of name, weight and args.

    Raises:
        LookupError: No such preset.

    Example:
        >>> [(entry["name"], entry["weight"]) for entry in preset("darkrank_base")["supervised"]]
        [('l_softmax', 1.0), ('verification', 5.0), ('triplet', 0.1)]
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return copy.deepcopy(PRESETS[name])
