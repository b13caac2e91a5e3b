"""How a student came to be, for its model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.config import RunConfig


def provenance(config: RunConfig, summary: Mapping[str, Any]) -> str:
    """A few Markdown lines: on what, from whom and by which losses a student learnt.

    Args:
        config: The run's configuration.
        summary: The run's ``summary.json``.

    Example:
        >>> print(provenance(RunConfig(), {"version": "0.1.0", "steps": 10, "split": "test"}))
        Trained with understudy 0.1.0 for 10 steps of 128 images on `typefaces`, seed 0; figures on the test
        split.
        <BLANKLINE>
        * teachers: none
        * losses: multi_similarity
    """
    teachers = ", ".join(f"`{teacher.reference}`" for teacher in config.teachers.values()) or "none"
    supervised = (
        ["multi_similarity"] if config.supervised is None else [loss.name for loss in config.supervised]
    )
    if config.s2sd is not None:
        supervised = [f"S2SD ({config.s2sd.variant} over {config.s2sd.base})"]
    losses = ", ".join([*supervised, *(loss.name for loss in config.losses)])
    return (
        f"Trained with understudy {summary['version']} for {summary['steps']} steps of "
        f"{config.sampler.batch_size} images on `{config.data.source}`, seed {config.seed}; figures on the "
        f"{summary['split']} split.\n\n* teachers: {teachers}\n* losses: {losses}"
    )
