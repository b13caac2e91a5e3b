"""What the student sees where it is to see less than its teacher: ``student_view``."""

from __future__ import annotations

from understudy.config import RunConfig
from understudy.data.degrade import Degrader


def student_sees(config: RunConfig) -> Degrader | None:
    """What degrades the student's images in training and evaluation; None where it sees them as they are.

    Example:
        >>> student_sees(RunConfig()) is None
        True
        >>> student_sees(RunConfig(student_view={"jpeg": 20}, seed=3)).seed
        3
    """
    if config.student_view is None or config.student_view.off:
        return None
    return Degrader(config.student_view, config.seed if config.view_seed is None else config.view_seed)
