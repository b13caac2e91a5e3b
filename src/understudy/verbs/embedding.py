"""The verb that stores what a model makes of images: embed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from understudy.data import Manifest
from understudy.data.table import Table, write_table
from understudy.errors import UserError
from understudy.models import Embedder
from understudy.training.device import find_device
from understudy.training.progress import Reporter
from understudy.verbs.sources import Images, loaded


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
    model = loaded(model)
    images = Images(
        data,
        device=find_device(device),
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
        reporter=reporter,
    )
    rows = np.arange(len(images.manifest)) if split is None else images.rows(split)
    vectors = images.embedded(model, rows)
    write_table(
        out,
        vectors.values,
        [images.manifest.ids[row] for row in vectors.rows],
        metadata={"teacher": model.config.backbone, "normalized": model.config.normalize},
    )
    return Table.open(out)
