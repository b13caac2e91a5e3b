"""Verbs that look at what was trained: embed and evaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from understudy.data import Manifest, open_dataset
from understudy.data.table import Table, write_table
from understudy.errors import UserError
from understudy.evaluation import Report, embed_pixels, metric_learning
from understudy.models import Embedder, load
from understudy.teachers import LiveTeacher, open_teacher
from understudy.training.device import find_device
from understudy.training.progress import Reporter


def embed(
    model: Embedder | str | Path,
    data: str | Path | Manifest,
    out: str | Path,
    *,
    split: str | None = None,
    batch_size: int = 256,
    device: str = "auto",
    skip_unreadable: bool = False,
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
        skip_unreadable: Leave unreadable images out instead of stopping.
        reporter: Shown the progress.

    Returns:
        The table.

    Raises:
        UserError: The model or the data cannot be read, or ``out`` exists.
    """
    out = Path(out)
    if out.exists():
        raise UserError(f"{str(out)!r} exists already: pass another place for the table or remove it first")
    model = _loaded(model)
    source = _Source(data, split, batch_size, device, skip_unreadable, reporter)
    rows, vectors = source.embedded(model, source.rows)
    ids = [source.dataset.manifest.ids[row] for row in rows]
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
    skip_unreadable: bool = False,
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
        skip_unreadable: Leave unreadable images out instead of stopping.
        reporter: Shown the progress.

    Returns:
        The report: ``.metrics``, ``.table()``, ``.to_json()``.

    Raises:
        UserError: Something cannot be read, or there is nothing to measure.
    """
    source = _Source(data, split, batch_size, device, skip_unreadable, reporter)
    if split is None and len(source.dataset.manifest.rows("test")):
        source.rows = source.dataset.manifest.rows("test")
    rows, vectors = source.vectors(query, source.rows)
    reference = None
    if teacher is not None:
        kept, reference = source.vectors(str(teacher), rows)
        vectors, rows = vectors[np.isin(rows, kept)], kept
    return metric_learning(vectors, source.dataset.manifest.label_codes()[rows], reference=reference)


def _loaded(model: Embedder | str | Path) -> Embedder:
    return model if isinstance(model, Embedder) else load(model)


class _Source:
    """The images of a call, and how they are read and embedded."""

    def __init__(
        self,
        data: str | Path | Manifest,
        split: str | None,
        batch_size: int,
        device: str,
        skip_unreadable: bool,
        reporter: Reporter | None,
    ) -> None:
        self.dataset = open_dataset(data)
        manifest = self.dataset.manifest
        self.rows = np.arange(len(manifest)) if split is None else manifest.rows(split)
        if not len(self.rows):
            raise UserError(
                f"{self.dataset.name!r} has no images in the split {split!r}: pass another --split"
            )
        self.batch_size = batch_size
        self.device = find_device(device)
        self.skip_unreadable = skip_unreadable
        self.reporter = reporter or Reporter(quiet=True)

    def embedded(self, model: Embedder, rows: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """The rows that could be read, and their embeddings on the processor."""
        pre = model.preprocessing
        self.reporter.start("decode", total=len(rows))
        pixels = self.dataset.pixels(
            rows,
            resize=pre.resize,
            mode=pre.mode,
            channels=pre.channels,
            interpolation=pre.interpolation,
            skip_unreadable=self.skip_unreadable,
            progress=self.reporter.tick,
            say=self.reporter.say,
        ).to(self.device)
        self.reporter.start("embed", total=len(pixels))
        vectors = embed_pixels(
            model.to(self.device), pixels, batch_size=self.batch_size, progress=self.reporter.tick
        )
        self.reporter.stop()
        return pixels.rows.cpu().numpy(), vectors.cpu()

    def vectors(self, maker: Embedder | str | Path, rows: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """The same from a model, a saved one, a table, or a teacher's reference."""
        if isinstance(maker, Embedder):
            return self.embedded(maker, rows)
        if (Path(maker) / "table.json").is_file():
            table = Table.open(maker)
            return rows, torch.from_numpy(
                table.read(table.rows([self.dataset.manifest.ids[row] for row in rows]))
            )
        opened = open_teacher(maker)
        if not isinstance(opened, LiveTeacher):
            raise UserError(f"the teacher {str(maker)!r} is not a model: pass a table of its vectors")
        return self.embedded(opened.model, rows)
