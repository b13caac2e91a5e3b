"""Verbs that train: distill and train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.training.defaults import complete
from understudy.training.directory.results import Run
from understudy.training.progress import Reporter
from understudy.training.run import execute

Loss = str | dict[str, Any]


def distill(
    data: str | Path | Mapping[str, Any],
    teacher: str | Path | Mapping[str, Any],
    student: str | dict[str, Any],
    *,
    losses: Sequence[Loss] = ("default",),
    supervised: Sequence[Loss] | None = None,
    epochs: float = 20.0,
    dim: int | None = None,
    out: str | Path,
    seed: int = 0,
    resume: bool = False,
    **config: Any,
) -> Run:
    """Distils a teacher into a student.

    Args:
        data: A data set's name, a manifest, a folder of images, or the settings of
            `understudy.config.DataConfig`.
        teacher: ``timm:NAME[?weights=FILE]``, ``onnx:FILE``, ``table:DIR``, ``python:module:factory``, a
            saved model's directory, or ``packaged:NAME`` (`understudy.teachers.open_teacher`); several as a
            mapping from their names.
        student: A backbone, or the settings of `understudy.models.EmbedderConfig`.
        losses: Distillation losses: names, or mappings with ``name``, ``weight``, ``args``.
        supervised: Losses on labels; none: multi-similarity where there are labels; ``()``: no labels at all.
        epochs: Epochs to train.
        dim: Dimension of the student's embedding.
        out: The run directory to write.
        seed: Seed of weights, batches and views.
        resume: Go on with the run in ``out``.
        **config: Any other setting of `understudy.config.RunConfig`.

    Returns:
        The run: ``.model``, ``.metrics``, ``.path``.

    Raises:
        UserError: Something cannot be done as asked; the sentence says what to change.

    Example:
        >>> import understudy
        >>> run = understudy.distill(
        ...     "photos/", "timm:resnet50?weights=r50.pth", "mobilenetv3_small_100", dim=128, out="run"
        ... )  # doctest: +SKIP
        >>> run.model.encode(["query.jpg"]).shape  # doctest: +SKIP
        (1, 128)
    """
    value = {
        **_once(config, teachers="teacher"),
        "data": _data(data),
        "teachers": _teachers(teacher),
        "student": _model(student, dim),
        "losses": list(losses),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def train(
    data: str | Path | Mapping[str, Any],
    model: str | dict[str, Any],
    *,
    supervised: Sequence[Loss] | None = None,
    epochs: float = 20.0,
    dim: int | None = None,
    out: str | Path,
    seed: int = 0,
    resume: bool = False,
    **config: Any,
) -> Run:
    """Trains a model on labels, without a teacher.

    Args:
        data: A data set's name, a manifest, a folder of images, or the settings of
            `understudy.config.DataConfig`.
        model: A backbone, or the settings of `understudy.models.EmbedderConfig`.
        supervised: Losses on labels; none: multi-similarity.
        epochs: Epochs to train.
        dim: Dimension of the embedding.
        out: The run directory to write.
        seed: Seed of weights, batches and views.
        resume: Go on with the run in ``out``.
        **config: Any other setting of `understudy.config.RunConfig`, such as ``s2sd``.

    Returns:
        The run: ``.model``, ``.metrics``, ``.path``.

    Raises:
        UserError: Something cannot be done as asked; the sentence says what to change.

    Example:
        >>> import understudy
        >>> run = understudy.train("typefaces", "smallconv_16", dim=64, out="run")  # doctest: +SKIP
        >>> run.metrics  # doctest: +SKIP
        {'recall@1': 0.68...}
    """
    value = {
        **_once(config, student="model"),
        "data": _data(data),
        "student": _model(model, dim),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def _run(value: dict[str, Any], supervised: Sequence[Loss] | None, out: str | Path, resume: bool) -> Run:
    if supervised is not None:
        value["supervised"] = list(supervised)
    config: RunConfig = parse(RunConfig, complete(value, distils=False), where="settings")
    return execute(config, out, resume=resume, reporter=Reporter())


def _once(config: dict[str, Any], **arguments: str) -> dict[str, Any]:
    """The other settings, none of which an argument sets already."""
    for key, argument in arguments.items():
        if key in config:
            raise UserError(f"the setting {key!r} is the argument `{argument}`: pass it there")
    return config


def _data(data: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    return {"source": str(data)} if isinstance(data, str | Path) else dict(data)


def _teachers(teacher: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    return {"main": str(teacher)} if isinstance(teacher, str | Path) else dict(teacher)


def _model(model: str | dict[str, Any], dim: int | None) -> dict[str, Any]:
    settings = {"backbone": model} if isinstance(model, str) else dict(model)
    return settings if dim is None else {**settings, "dim": dim}
