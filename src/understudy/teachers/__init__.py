"""One protocol for every teacher: live models and saved artefacts."""

from __future__ import annotations

from understudy.teachers.live import LiveTeacher
from understudy.teachers.protocol import Teacher
from understudy.teachers.references import open_teacher

__all__ = ["LiveTeacher", "Teacher", "open_teacher"]
