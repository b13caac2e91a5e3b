"""How a student came to be, for its model card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from understudy.config import RunConfig
from understudy.data.degradation import Degradation
from understudy.training.protocols import in_words


def provenance(config: RunConfig, summary: Mapping[str, Any], terms: Iterable[nn.Module]) -> str:
    """A few Markdown lines: on what, from whom and by which losses a student learnt.

    Args:
        config: The run's configuration.
        summary: The run's ``summary.json``.
        terms: The parts of its loss; teachers that none of them asks are left out.

    Example:
        >>> from understudy.training.objective.terms import Term
        >>> summary = {"version": "0.1.0", "steps": 10, "batch_size": 128, "split": "test"}
        >>> print(provenance(RunConfig(), summary, [Term("multi_similarity", 1.0)]))
        Trained with understudy 0.1.0 for 10 steps of 128 images on `typefaces`, seed 0; figures on the test
        split.
        <BLANKLINE>
        * teachers: none
        * losses: multi_similarity
    """
    s2sd = "" if config.s2sd is None else f"S2SD ({config.s2sd.variant} over {config.s2sd.base})"
    losses = [s2sd if term.name == "s2sd" else str(term.name) for term in terms]
    asked = {getattr(term, "teacher", None) for term in terms}
    teachers = [f"`{teacher.reference}`" for name, teacher in config.teachers.items() if name in asked]
    seen = config.student_view
    worse = (
        ""
        if seen is None or seen.off
        else f"\n* the student saw, also when measured, images of {_words(seen)}"
    )
    return (
        f"Trained with understudy {summary['version']} for {summary['steps']} steps of "
        f"{summary['batch_size']} images on `{config.data.source}`, seed {config.seed}; figures on "
        f"{in_words(summary['split'])}.\n\n"
        f"* teachers: {', '.join(teachers) or 'none'}\n* losses: {', '.join(losses)}{worse}"
    )


def _words(view: Degradation) -> str:
    """A degradation in a few words.

    Example:
        >>> _words(Degradation(scale=0.25, jpeg=(10, 30)))
        'scale 0.25, jpeg 10 to 30'
    """
    ranges = [(name, ends) for name, ends in view if ends not in (None, (1.0, 1.0), (0.0, 0.0))]
    return ", ".join(
        f"{name} {low:g}" + (f" to {high:g}" if high > low else "") for name, (low, high) in ranges
    )
