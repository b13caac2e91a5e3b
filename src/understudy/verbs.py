"""The few verbs a user needs: distill, train, load, embed, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.config import RunConfig, parse
from understudy.data import Dataset, Manifest, Pixels, open_dataset
from understudy.data.table import Table, write_table
from understudy.errors import UserError
from understudy.evaluation import Report, embed_pixels, metric_learning
from understudy.models import Embedder, load
from understudy.teachers import LiveTeacher, open_teacher
from understudy.training.defaults import complete
from understudy.training.device import find_device
from understudy.training.progress import Reporter
from understudy.training.run import Run, execute

Loss = str | dict[str, Any]


def distill(
    data: str | Path,
    teacher: str | Path,
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
        data: A data set's name, a manifest, or a folder of images.
        teacher: ``timm:NAME[?weights=FILE]``, a saved model's directory, or ``packaged:NAME``.
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
        **config,
        "data": _source(config, data),
        "teachers": {"main": str(teacher)},
        "student": _model(student, dim),
        "losses": list(losses),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def train(
    data: str | Path,
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
        data: A data set's name, a manifest, or a folder of images.
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
        **config,
        "data": _source(config, data),
        "student": _model(model, dim),
        "epochs": epochs,
        "seed": seed,
    }
    return _run(value, supervised, out, resume)


def embed(
    model: Embedder | str | Path,
    data: str | Path | Manifest,
    out: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Table:
    """Embeds images and stores the vectors with their ids.

    Args:
        model: A model, or a saved model's directory.
        data: A data set's name, a manifest, or a folder of images.
        out: The embedding table to write.
        split: Only this split of the manifest; none: every row.
        batch_size: Images at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        reporter: Shown the progress.

    Returns:
        The table.

    Raises:
        UserError: The model or the data cannot be read, or ``out`` exists.
    """
    out = Path(out)
    if out.exists():
        raise UserError(f"{str(out)!r} exists already: pass another place for the table or remove it first")
    dataset = open_dataset(data)
    model = _loaded(model)
    rows = _rows(dataset, split)
    vectors = _embed(model, dataset, rows, batch_size, device, reporter or Reporter(quiet=True))
    ids = [dataset.manifest.ids[row] for row in rows]
    write_table(
        out, vectors, ids, metadata={"teacher": model.config.backbone, "normalized": model.config.normalize}
    )
    return Table.open(out)


def evaluate(
    query: Embedder | str | Path,
    data: str | Path | Manifest,
    *,
    split: str | None = None,
    teacher: str | Path | None = None,
    batch_size: int = 256,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Report:
    """Measures how a model, or a table of vectors, ranks a data set.

    Every image of the split is a query against all others (the metric-learning protocol).

    Args:
        query: A model, a saved model's directory, or an embedding table.
        data: A data set's name, a manifest, or a folder of images.
        split: Which split; none: ``test`` where there is one, else every row.
        teacher: A teacher reference or a table of its vectors, to measure agreement with.
        batch_size: Images at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        reporter: Shown the progress.

    Returns:
        The report: ``.metrics``, ``.table()``, ``.to_json()``.

    Raises:
        UserError: Something cannot be read, or there is nothing to measure.
    """
    reporter = reporter or Reporter(quiet=True)
    dataset = open_dataset(data)
    rows = _rows(dataset, split if split is not None or not len(dataset.manifest.rows("test")) else "test")
    vectors = _vectors(query, dataset, rows, batch_size, device, reporter)
    reference = None
    if teacher is not None:
        reference = _reference(str(teacher), dataset, rows, batch_size, device, reporter)
    return metric_learning(vectors, dataset.manifest.label_codes()[rows], reference=reference)


def _run(value: dict[str, Any], supervised: Sequence[Loss] | None, out: str | Path, resume: bool) -> Run:
    if supervised is not None:
        value["supervised"] = list(supervised)
    config: RunConfig = parse(RunConfig, complete(value, distils=False), where="settings")
    return execute(config, out, resume=resume, reporter=Reporter())


def _source(config: dict[str, Any], data: str | Path) -> dict[str, Any]:
    return {**config.get("data", {}), "source": str(data)}


def _model(model: str | dict[str, Any], dim: int | None) -> dict[str, Any]:
    settings = {"backbone": model} if isinstance(model, str) else dict(model)
    return settings if dim is None else {**settings, "dim": dim}


def _loaded(model: Embedder | str | Path) -> Embedder:
    return model if isinstance(model, Embedder) else load(model)


def _rows(dataset: Dataset, split: str | None) -> np.ndarray:
    rows = np.arange(len(dataset.manifest)) if split is None else dataset.manifest.rows(split)
    if not len(rows):
        raise UserError(f"{dataset.name!r} has no images in the split {split!r}: pass another --split")
    return rows


def _decoded(model: Embedder, dataset: Dataset, rows: np.ndarray, reporter: Reporter) -> Pixels:
    pre = model.preprocessing
    reporter.start("decode", total=len(rows))
    pixels = dataset.pixels(
        rows,
        resize=pre.resize,
        mode=pre.mode,
        channels=pre.channels,
        interpolation=pre.interpolation,
        progress=reporter.tick,
    )
    reporter.stop()
    return pixels


def _embed(
    model: Embedder, dataset: Dataset, rows: np.ndarray, batch_size: int, device: str, reporter: Reporter
) -> torch.Tensor:
    place = find_device(device)
    pixels = _decoded(model, dataset, rows, reporter).to(place)
    return embed_pixels(
        model.to(place), pixels, torch.from_numpy(rows).to(place), batch_size=batch_size
    ).cpu()


def _vectors(
    query: Embedder | str | Path,
    dataset: Dataset,
    rows: np.ndarray,
    batch_size: int,
    device: str,
    reporter: Reporter,
) -> torch.Tensor:
    if not isinstance(query, Embedder) and (Path(query) / "table.json").is_file():
        table = Table.open(query)
        return torch.from_numpy(table.read(table.rows([dataset.manifest.ids[row] for row in rows])))
    return _embed(_loaded(query), dataset, rows, batch_size, device, reporter)


def _reference(
    teacher: str, dataset: Dataset, rows: np.ndarray, batch_size: int, device: str, reporter: Reporter
) -> torch.Tensor:
    if (Path(teacher) / "table.json").is_file():
        return _vectors(teacher, dataset, rows, batch_size, device, reporter)
    opened = open_teacher(teacher)
    if not isinstance(opened, LiveTeacher):
        raise UserError(f"the teacher {teacher!r} is not a model: pass a table of its vectors")
    return _embed(opened.model, dataset, rows, batch_size, device, reporter)
