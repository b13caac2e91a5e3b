"""Verbs that train: distill and train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

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
    losses: Loss | Sequence[Loss] = ("default",),
    supervised: Loss | Sequence[Loss] | None = None,
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
        losses: Distillation losses, or one: names, or mappings with ``name``, ``weight``, ``args``.
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
        "student": _model("student", student, dim),
        "losses": _losses("losses", losses),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def train(
    data: str | Path | Mapping[str, Any],
    model: str | dict[str, Any],
    *,
    supervised: Loss | Sequence[Loss] | None = None,
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
        "student": _model("model", model, dim),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def _run(
    value: dict[str, Any], supervised: Loss | Sequence[Loss] | None, out: str | Path, resume: bool
) -> Run:
    if supervised is not None:
        value["supervised"] = _losses("supervised", supervised)
    config: RunConfig = parse(RunConfig, complete(value, distils=False), where="settings")
    return execute(config, out, resume=resume, reporter=Reporter())


def _once(config: dict[str, Any], **arguments: str) -> dict[str, Any]:
    """The other settings, none of which an argument sets already."""
    for key, argument in arguments.items():
        if key in config:
            raise UserError(f"the setting {key!r} is the argument `{argument}`: pass it there")
    return config


def _losses(argument: str, losses: object) -> list[Any]:
    """Losses as a list; one may stand alone."""
    if isinstance(losses, str | Mapping):
        return [losses]
    if not isinstance(losses, Iterable):
        raise _wrong(argument, losses, "pass names of losses, or mappings with `name`, `weight` and `args`")
    return list(losses)


def _data(data: object) -> dict[str, Any]:
    if isinstance(data, str | Path):
        return {"source": str(data)}
    if not isinstance(data, Mapping | BaseModel):
        cure = "pass a folder, a data set's name, or the path of a manifest (`Manifest.save` writes one)"
        raise _wrong("data", data, cure)
    return dict(data)


def _teachers(teacher: object) -> dict[str, Any]:
    if isinstance(teacher, str | Path):
        return {"main": str(teacher)}
    if not isinstance(teacher, Mapping):
        cure = "pass its reference or directory (`understudy.models.save_artefact` writes one), or a mapping"
        raise _wrong("teacher", teacher, f"{cure} from names to these")
    return dict(teacher)


def _model(argument: str, model: object, dim: int | None) -> dict[str, Any]:
    if not isinstance(model, str | Mapping | BaseModel):
        cure = "pass a backbone's name, or the settings of `understudy.models.EmbedderConfig`"
        raise _wrong(argument, model, cure)
    settings = {"backbone": model} if isinstance(model, str) else dict(model)
    return settings if dim is None else {**settings, "dim": dim}


def _wrong(argument: str, value: object, cure: str) -> UserError:
    return UserError(f"the argument `{argument}` cannot be a {type(value).__name__}: {cure}")
