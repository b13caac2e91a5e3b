"""What a teacher is asked when a table of its answers is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from understudy.data import Augmentation, Manifest
from understudy.data.table.plan import Dtype
from understudy.models import Embedder

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class EmbeddingJob:
    """Which model is asked about which views of which images; can be sent to another process.

    Attributes:
        model: A model, or a teacher's reference.
        data: A data set's name, a manifest, or a folder of images.
        split: Only this split of the manifest; None: every row.
        batch_size: Views at a time.
        device: ``auto``, ``cpu``, ``cuda``, ….
        skip_unreadable: Leave unreadable images out.
        dtype: How numbers are stored.
        precision: At which the model computes, where it is a network that runs here.
        logits: Whether the logits are stored too.
        flip: Whether the mirror image of every view is asked about too, and the mean of both answers kept
            (of length 1 again where the teacher's vectors are).
        augmentation: What varies between views, with their finite number; None: the clean image.
        view_seed: The seed of the views.
        shard_rows: About how many vectors lie in a file; None: what suits the images' size, and
            few enough where each answer may cost something.
    """

    model: Embedder | str | Path
    data: str | Path | Manifest
    split: str | None = None
    batch_size: int = 256
    device: str = "auto"
    skip_unreadable: bool = False
    dtype: Dtype = "float32"
    precision: Precision = "fp32"
    logits: bool = False
    flip: bool = False
    augmentation: Augmentation | None = None
    view_seed: int = 0
    shard_rows: int | None = None
