"""How often teachers were asked for what a run learnt from and was measured by."""

from __future__ import annotations

from collections.abc import Mapping

from understudy.teachers import LimitedTeacher, Teacher
from understudy.training.processes import distributed


class Questions:
    """The account of one run: questions are images × views, of all its processes, resumes included.

    Answers that are kept cost what it took to ask for them, whoever asked: a run that finds a table half
    written, or the answers of a run before it in memory, learns from no fewer questions for that.

    Args:
        teachers: The teachers by name, as they were opened.

    Example:
        >>> from understudy.models import build_embedder
        >>> from understudy.teachers import LiveTeacher
        >>> teacher = LiveTeacher(build_embedder("smallconv_8"))
        >>> questions = Questions({"main": teacher})
        >>> teacher.queries += 5
        >>> questions.keep("main", "answers of an earlier run", cost=7)
        >>> questions.counts()
        {'main': 12}
    """

    def __init__(self, teachers: Mapping[str, Teacher]) -> None:
        self._teachers = dict(teachers)
        # A question for the dimension was one for this run, even if it came before.
        self._start = {name: teacher.queries - _grey(teacher) for name, teacher in teachers.items()}
        self._before = dict.fromkeys(teachers, 0)
        self._kept: dict[str, dict[str, int]] = {name: {} for name in teachers}
        for teacher in teachers.values():
            if isinstance(teacher, LimitedTeacher):
                teacher.spent = _grey(teacher)

    def keep(self, name: str, what: str, *, cost: int, paid: int = 0) -> None:
        """Says that the run uses kept answers.

        Args:
            name: The teacher.
            what: Which answers; said twice, they count once, as they were said first.
            cost: How many questions they took in all.
            paid: How many of these this process has just asked: they are in ``cost`` already.
        """
        if name in self._kept:
            self._kept[name].setdefault(what, cost)
            self._start[name] += paid

    def counts(self) -> dict[str, int]:
        """The questions by teacher; all processes must ask for this together."""
        asked = distributed.gather_objects(self._asked())
        return {
            name: self._before[name] + sum(one[name] for one in asked) + sum(self._kept[name].values())
            for name in self._teachers
        }

    def state_dict(self) -> dict[str, int]:
        """What a resumed run cannot find out again; all processes must ask for this together."""
        asked = distributed.gather_objects(self._asked())
        return {name: self._before[name] + sum(one[name] for one in asked) for name in self._teachers}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Adds what the interrupted run had asked, also to what is gone of the budgets."""
        for name, teacher in self._teachers.items():
            self._before[name] = state.get(name, 0)
            if isinstance(teacher, LimitedTeacher):
                teacher.spent += self._before[name]

    def _asked(self) -> dict[str, int]:
        return {name: teacher.queries - self._start[name] for name, teacher in self._teachers.items()}


def _grey(teacher: Teacher) -> int:
    """How often a teacher was asked about the grey image that tells its dimension."""
    asked = teacher.teacher if isinstance(teacher, LimitedTeacher) else teacher
    return getattr(asked, "grey", 0)
