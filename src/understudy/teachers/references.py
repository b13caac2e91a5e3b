"""From the reference in a configuration to a teacher."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from understudy.errors import UserError, suggest, unknown
from understudy.models.artefact import load
from understudy.models.config import EmbedderConfig, parse_config
from understudy.models.embedder import Embedder, build_embedder
from understudy.teachers.live import LiveTeacher
from understudy.teachers.packaged import packaged_path
from understudy.teachers.protocol import Teacher

_AVAILABLE = "timm:NAME?weights=FILE, packaged:NAME, or the directory of a saved model"
_NOT_YET = ("onnx", "table", "python", "hf", "openclip")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_]+):(.*)", re.DOTALL)
_SIZES = ("input_size", "resize")
_NUMBERS = ("mean", "std")


def open_teacher(
    reference: str | Path | Embedder | Teacher, *, device: torch.device | str = "cpu"
) -> Teacher:
    """Opens a teacher.

    Args:
        reference: One of

            * ``timm:NAME`` with timm's own weights, downloaded, or ``timm:NAME?weights=FILE`` with a local
              file. Further settings of `EmbedderConfig` follow with ``&``: ``pooling=gem``,
              ``input_size=256x128``, ``mean=0.5,0.5,0.5``, ``weights_in_order=true`` … ``weights=random``
              leaves the network untrained. The package's own backbones are named in the same way.
            * ``packaged:typefaces``, a teacher that ships with the package,
            * the directory of a saved model,
            * a model, or anything that fulfils `Teacher`.
        device: Where it is to work.

    Raises:
        UserError: The reference is of an unknown kind, or what it names cannot be loaded.

    Example:
        >>> open_teacher("timm:smallconv_8?weights=random&dim=32").dim
        32
        >>> open_teacher("onnx:teacher.onnx")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: teachers of kind 'onnx:' are not available in this version: available are
        timm:NAME?weights=FILE, packaged:NAME, or the directory of a saved model
    """
    if isinstance(reference, Embedder):
        return LiveTeacher(reference).to(device)
    if not isinstance(reference, str | Path):
        if isinstance(reference, Teacher):
            return reference.to(device)
        raise UserError(f"a {type(reference).__name__} is no teacher: pass {_AVAILABLE}")
    scheme = _SCHEME.fullmatch(reference) if isinstance(reference, str) else None
    if scheme is None:
        model = load(reference)
        return LiveTeacher(model, name=Path(reference).name).to(device)
    kind, rest = scheme[1].lower(), scheme[2]
    if kind == "timm":
        return LiveTeacher(build_embedder(_timm_config(rest))).to(device)
    if kind == "packaged":
        return LiveTeacher(load(packaged_path(rest)), name=rest).to(device)
    if kind in _NOT_YET:
        raise UserError(
            f"teachers of kind '{kind}:' are not available in this version: available are {_AVAILABLE}"
        )
    raise unknown("kind of teacher", kind, ["timm", "packaged"])


def _timm_config(text: str) -> EmbedderConfig:
    """The configuration that ``NAME?key=value&…`` stands for."""
    name, _, query = text.partition("?")
    where = f"teacher 'timm:{text}'"
    if not name:
        raise UserError(f"{where} names no model: write timm:NAME?weights=FILE")
    values: dict[str, object] = {"backbone": name, "weights": "pretrained"}
    known = [key for key in EmbedderConfig.model_fields if key != "backbone"]
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"{where}: {part!r} is no setting, write key=value")
        if key not in known:
            raise UserError(f"{where} has no setting {key!r}: {suggest(key, known)}")
        values[key] = _value(key, value)
    return parse_config(values, where)


def _value(key: str, text: str) -> object:
    if key in _SIZES:
        return tuple(text.lower().split("x"))
    if key in _NUMBERS:
        return tuple(text.split(","))
    if key == "weights" and text == "random":
        return None
    return text
