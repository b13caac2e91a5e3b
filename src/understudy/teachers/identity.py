"""What it takes to know a teacher again: hashes of what decides its answers."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy.teachers.limited import LimitedTeacher
from understudy.teachers.live import LiveTeacher
from understudy.teachers.onnx import OnnxTeacher
from understudy.teachers.protocol import Teacher
from understudy.teachers.stored import TableTeacher

_LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?[\x00-\x7f])", re.DOTALL)
"""How a file says where the numbers of a tensor lie (``TensorProto.external_data`` of onnx.proto): an entry
with the key ``location``, and before its value the value's length."""


def identity(teacher: Teacher) -> dict[str, Any]:
    """Facts about a teacher, as plain values.

    Args:
        teacher: A teacher.

    Returns:
        ``preprocessing``, if it has one, and ``sha256``: of a model's weights, or of an ONNX file with the
        files that hold its weights; with what is made of their outputs. Of stored answers ``fingerprint``.
        Nothing can be known of a function.

    Example:
        >>> from understudy.models import build_embedder
        >>> sorted(identity(LiveTeacher(build_embedder("smallconv_8"))))
        ['normalize', 'pooling', 'preprocessing', 'sha256']
    """
    if isinstance(teacher, LimitedTeacher):
        return identity(teacher.teacher)
    facts: dict[str, Any] = {}
    pre = getattr(teacher, "preprocessing", None)
    if pre is not None:
        facts["preprocessing"] = pre.model_dump(mode="json")
    if isinstance(teacher, LiveTeacher):
        config = teacher.model.config
        facts |= {"pooling": config.pooling, "normalize": config.normalize}
        facts["sha256"] = hash_of_weights(teacher.model)
    elif isinstance(teacher, OnnxTeacher):
        facts |= {"output": teacher.output, "normalize": teacher.normalize}
        facts["sha256"] = _hash_of_onnx(teacher.graph.path)
    elif isinstance(teacher, TableTeacher):
        facts["fingerprint"] = teacher.table.fingerprint
    return facts


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of_onnx(path: Path) -> str:
    """The hash of a file, and of those that hold its weights where it names any beside it."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The length is a varint: seven bits a byte, the lowest first.
        named = [
            content[
                found.end() : found.end() + sum((byte & 127) << 7 * at for at, byte in enumerate(found[1]))
            ]
            for found in _LOCATION.finditer(content)
        ]
    places = {path.parent / os.fsdecode(name) for name in named if b"\0" not in name}
    digest, beside = hash_of_file(path), sorted(place for place in places if place.is_file())
    if not beside:
        return digest
    return hashlib.sha256("".join([digest, *map(hash_of_file, beside)]).encode()).hexdigest()


def hash_of_weights(model: nn.Module) -> str:
    """SHA-256 of a model's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
