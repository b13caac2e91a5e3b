"""A saved model is a directory: weights, configuration, a model card, metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from understudy._version import __version__
from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError, suggest
from understudy.files import atomic_directory, write_json, write_text
from understudy.models.card import model_card
from understudy.models.config import EmbedderConfig, in_words
from understudy.models.embedder import Embedder, build_embedder
from understudy.models.space import TeacherSpace
from understudy.models.weights import few, mismatches, read_safetensors

T = TypeVar("T", bound=BaseModel)

FORMAT = 1
WEIGHTS = "model.safetensors"
CONFIG = "config.json"

_INPUT = {"input_size", "resize", "mode", "interpolation", "channels", "mean", "std"}
_START = {"weights", "weights_in_order", "prefix_weights"}
_KEYS = ("format", "understudy", "model", "preprocessing", "classes", "dtype")
_OPTIONAL = ("space",)


def save_artefact(
    model: Embedder,
    directory: str | Path,
    *,
    card: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    dtype: Literal["float16", "bfloat16"] | None = None,
) -> Path:
    """Writes a model as a directory, whole or not at all.

    ``model.safetensors`` holds the weights (a classifier's as ``classifier.*``), ``config.json`` the
    configuration, preprocessing, classes, the teacher's space where there is one, the package's version and
    the format's number, ``README.md`` the model card, ``metrics.json`` the metrics.

    Args:
        model: What to save.
        directory: Where it is to stand.
        card: The text of ``README.md``; a short one is written from the configuration unless given.
        metrics: What ``metrics.json`` holds.
        overwrite: Replace an existing directory.
        dtype: Store floating-point weights in half precision; `load` gives them back as float32. As they are
            unless given.

    Returns:
        The directory.

    Raises:
        UserError: The directory exists, cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "student"
        >>> saved = save_artefact(build_embedder({"backbone": "smallconv_8", "dim": 16}), place)
        >>> sorted(file.name for file in saved.iterdir())
        ['README.md', 'config.json', 'metrics.json', 'model.safetensors']
        >>> load(place).dim
        16
    """
    from safetensors.torch import save

    directory = Path(directory)
    state = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    config = {
        "format": FORMAT,
        "understudy": __version__,
        "model": model.config.model_dump(mode="json", exclude=_INPUT | _START),
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "classes": None if model.classes is None else list(model.classes),
        "dtype": "float64" if any(t.dtype == torch.float64 for t in state.values()) else "float32",
    }
    if model.space is not None:
        config["space"] = model.space.model_dump(mode="json")
    with atomic_directory(directory, overwrite=overwrite, last=CONFIG) as draft:
        # not save_file: on a full disk it raises an error of its own
        (draft / WEIGHTS).write_bytes(save(state, metadata={"format": "pt"}))
        write_json(draft / CONFIG, config)
        write_json(draft / "metrics.json", dict(metrics or {}))
        write_text(draft / "README.md", card if card is not None else model_card(model, metrics=metrics))
    return directory


def load(directory: str | Path) -> Embedder:
    """Loads a model that `save_artefact` wrote, in evaluation mode, on the processor.

    Raises:
        UserError: The directory or one of its files is missing or damaged, was written in another format, or
            its weights do not fit its configuration; the sentence says which and how.

    Example:
        >>> load("no/such/model")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: there is no model directory 'no/such/model': check the path
    """
    directory = Path(directory)
    if not directory.is_dir():
        if directory.exists():
            raise UserError(f"{str(directory)!r} is a file: pass the directory that holds {CONFIG}")
        raise UserError(f"there is no model directory {str(directory)!r}: check the path")
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise UserError(f"{str(directory)!r} has no {name}: it is no saved model, or only part of one")
    config = _read_config(directory / CONFIG)
    model = _rebuild(config, str(directory / CONFIG))
    state = read_safetensors(directory / WEIGHTS)
    faults = mismatches(state, model.state_dict())
    if faults:
        raise UserError(f"{str(directory / WEIGHTS)!r} does not fit its {CONFIG}: {few(faults)}")
    if config["dtype"] == "float64":
        model.double()
    model.load_state_dict(state)
    return model.eval()


def _stored(tensor: Tensor, dtype: str | None) -> Tensor:
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(getattr(torch, dtype))
    return tensor.detach().to("cpu", copy=True).contiguous()


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{str(file)!r} is not JSON ({error}): write the model once more") from error
    if not isinstance(config, dict) or "format" not in config:
        raise UserError(f"{str(file)!r} is not the configuration of a saved model: it has no 'format'")
    if config["format"] != FORMAT:
        raise UserError(
            f"{str(file)!r} is of format {config['format']}, written by understudy "
            f"{config.get('understudy')}; this is understudy {__version__}, which reads format {FORMAT}: "
            "install the version that wrote it"
        )
    for key in config:
        if key not in (*_KEYS, *_OPTIONAL):
            raise UserError(f"{str(file)!r} has an unknown key {key!r}: {suggest(key, _KEYS + _OPTIONAL)}")
    for key in _KEYS:
        if key not in config:
            raise UserError(f"{str(file)!r} has no {key!r}: write the model once more")
    return config


def _rebuild(config: Mapping[str, Any], file: str) -> Embedder:
    """The model that a configuration describes, with random weights."""
    settings = _parse(EmbedderConfig, config["model"], file, "model")
    pre = _parse(Preprocessing, config["preprocessing"], file, "preprocessing")
    classes = config["classes"]
    if not (classes is None or (isinstance(classes, list) and all(isinstance(c, str) for c in classes))):
        raise UserError(f"{file!r}: 'classes' is not a list of names")
    filled = settings.model_copy(update={"input_size": pre.size, **pre.model_dump(exclude={"size"})})
    space = _parse(TeacherSpace, config["space"], file, "space") if "space" in config else None
    return build_embedder(filled, classes=classes, space=space)


def _parse(kind: type[T], values: Any, file: str, part: str) -> T:
    if not isinstance(values, Mapping):
        raise UserError(f"{file!r}: {part!r} is not a table of settings")
    for key in values:
        if key not in kind.model_fields:
            raise UserError(f"{file!r} has an unknown key '{part}.{key}': {suggest(key, kind.model_fields)}")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{file!r}: {part}.{in_words(error)}") from error
