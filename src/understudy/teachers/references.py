"""From the reference in a configuration to a teacher."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from understudy.errors import UserError, unknown
from understudy.models.artefact import load
from understudy.models.config import EmbedderConfig, parse_config
from understudy.models.embedder import Embedder, build_embedder
from understudy.teachers.callable import open_callable
from understudy.teachers.limited import RETRIES, LimitedTeacher
from understudy.teachers.live import LiveTeacher
from understudy.teachers.onnx import open_onnx
from understudy.teachers.packaged import packaged_path
from understudy.teachers.protocol import Teacher
from understudy.teachers.settings import refuse_unknown, split_reference
from understudy.teachers.stored import open_stored

_AVAILABLE = (
    "timm:NAME?weights=FILE, onnx:FILE, table:DIR, python:module:factory, packaged:NAME, or the directory of "
    "a saved model"
)
_INSTEAD = {
    "hf": "python:module:factory around a transformers model (docs/teachers.md has an example)",
    "openclip": "python:module:factory around an open_clip model (docs/teachers.md has an example)",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_]+):(.*)", re.DOTALL)
_SIZES = ("input_size", "resize")
_NUMBERS = ("mean", "std")


def open_teacher(
    reference: str | Path | Embedder | Teacher,
    *,
    device: torch.device | str = "cpu",
    budget: int | None = None,
    rate: float | None = None,
    retries: int = RETRIES,
) -> Teacher:
    """Opens a teacher.

    Args:
        reference: One of

            * ``timm:NAME`` with timm's own weights, downloaded, or ``timm:NAME?weights=FILE`` with a local
              file. Further settings of `EmbedderConfig` follow with ``&``: ``pooling=gem``,
              ``input_size=256x128``, ``mean=0.5,0.5,0.5``, ``weights_in_order=true`` … ``weights=random``
              leaves the network untrained. The package's own backbones are named in the same way.
            * ``onnx:FILE``, computed by onnxruntime; how images become its input stands in its metadata or
              behind a question mark: ``onnx:vit.onnx?input_size=224x224&mean=0.5,0.5,0.5&std=0.5,0.5,0.5``
              (`understudy.teachers.onnx.SETTINGS`),
            * ``table:DIR``, stored vectors,
            * ``python:module:factory?key=value``, the user's own code: the factory is called with the
              settings and gives any function of images (`understudy.teachers.callable.CallableTeacher`),
            * ``packaged:typefaces``, a teacher that ships with the package,
            * the directory of a saved model,
            * a model, or anything that fulfils `Teacher`.
        device: Where it is to work.
        budget: How many images × views it may be asked about; None: any number.
        rate: How many of them a second at most; None: no limit.
        retries: How often a question about an image is repeated that a ``python:`` teacher failed on.

    Raises:
        UserError: The reference is of an unknown kind, or what it names cannot be loaded.

    Example:
        >>> open_teacher("timm:smallconv_8?weights=random&dim=32").dim
        32
        >>> open_teacher("onnx:teacher.onnx")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: there is no ONNX file 'teacher.onnx': check its place
    """
    teacher = _opened(reference)
    asked = isinstance(reference, str) and reference.lower().startswith("python:")
    if asked or budget is not None or rate is not None:
        teacher = LimitedTeacher(teacher, budget=budget, rate=rate, retries=retries if asked else 0)
    return teacher.to(device)


def _opened(reference: str | Path | Embedder | Teacher) -> Teacher:
    if isinstance(reference, Embedder):
        return LiveTeacher(reference)
    if not isinstance(reference, str | Path):
        if isinstance(reference, Teacher):
            return reference
        raise UserError(f"a {type(reference).__name__} is no teacher: pass {_AVAILABLE}")
    scheme = _SCHEME.fullmatch(reference) if isinstance(reference, str) else None
    if scheme is None:
        return LiveTeacher(load(reference), name=Path(reference).name)
    kind, rest = scheme[1].lower(), scheme[2]
    if kind in _INSTEAD:
        raise UserError(f"there are no teachers of kind '{kind}:': write {_INSTEAD[kind]}")
    if kind not in _KINDS:
        raise unknown("kind of teacher", kind, _KINDS)
    return _KINDS[kind](rest)


def _timm_config(text: str) -> EmbedderConfig:
    """The configuration that ``NAME?key=value&…`` stands for."""
    where = f"teacher 'timm:{text}'"
    if not text.partition("?")[0]:
        raise UserError(f"{where} names no model: write timm:NAME?weights=FILE")
    name, settings = split_reference("timm", text)
    refuse_unknown(where, settings, [key for key in EmbedderConfig.model_fields if key != "backbone"])
    read = {key: _value(key, value) for key, value in settings.items()}
    return parse_config({"backbone": name, "weights": "pretrained", **read}, where)


def _value(key: str, text: str) -> object:
    if key in _SIZES:
        return tuple(text.lower().split("x"))
    if key in _NUMBERS:
        return tuple(text.split(","))
    if key == "weights" and text == "random":
        return None
    return text


_KINDS: dict[str, Callable[[str], Teacher]] = {
    "timm": lambda text: LiveTeacher(build_embedder(_timm_config(text))),
    "packaged": lambda name: LiveTeacher(load(packaged_path(name)), name=name),
    "onnx": lambda text: open_onnx(*split_reference("onnx", text)),
    "table": open_stored,
    "python": lambda text: open_callable(*split_reference("python", text)),
}
