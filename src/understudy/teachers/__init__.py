"""One protocol for every teacher: live models, ONNX files, functions and stored answers."""

from __future__ import annotations

from understudy.teachers.callable import CallableTeacher
from understudy.teachers.joining import joined
from understudy.teachers.limited import LimitedTeacher, Spent
from understudy.teachers.live import LiveTeacher
from understudy.teachers.onnx import OnnxTeacher
from understudy.teachers.protocol import Teacher
from understudy.teachers.references import open_teacher
from understudy.teachers.stored import TableTeacher

__all__ = [
    "CallableTeacher",
    "LimitedTeacher",
    "LiveTeacher",
    "OnnxTeacher",
    "Spent",
    "TableTeacher",
    "Teacher",
    "joined",
    "open_teacher",
]
