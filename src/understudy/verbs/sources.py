"""Who makes vectors of a data set's images: a model, in memory or saved, or a table of stored ones."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from understudy.data import Dataset, Manifest, open_dataset
from understudy.data.table import Table
from understudy.errors import UserError
from understudy.evaluation import Describing, embed_pixels
from understudy.models import Embedder, load
from understudy.models.artefact import WEIGHTS
from understudy.teachers import LiveTeacher, open_teacher
from understudy.teachers.packaged import packaged_path
from understudy.training.progress import Reporter

Maker = Embedder | str | Path

_DECODED_BYTES = 2**30
"""How much of decoded images is held at a time."""


@dataclass(frozen=True)
class Vectors:
    """The vectors of some manifest rows.

    Attributes:
        rows: (r,) int64, ascending.
        values: (r, d), one for each.
    """

    rows: np.ndarray
    values: Tensor

    def of(self, wanted: np.ndarray) -> Tensor:
        """The vectors of some of the rows, in their order."""
        places = torch.from_numpy(np.searchsorted(self.rows, wanted))
        return self.values[places.to(self.values.device)]


class Images:
    """The images of a call, and how they are read and embedded.

    Args:
        data: A data set's name, a manifest, or a folder of images.
        splits_name: An alternative split of it.
        device: Where models work.
        batch_size: Images at a time.
        skip_unreadable: Leave unreadable images out instead of stopping.
        reporter: Shown the progress.
    """

    def __init__(
        self,
        data: str | Path | Manifest,
        *,
        splits_name: str | None = None,
        device: torch.device,
        batch_size: int = 256,
        skip_unreadable: bool = False,
        reporter: Reporter | None = None,
    ) -> None:
        self.dataset: Dataset = open_dataset(data, split_name=splits_name)
        self.manifest = self.dataset.manifest
        self.device = device
        self.batch_size = batch_size
        self.skip_unreadable = skip_unreadable
        self.reporter = reporter or Reporter(quiet=True)

    def rows(self, split: str, option: str = "--split") -> np.ndarray:
        """The rows of a split that must have some.

        Raises:
            UserError: It has none; ``option`` says what to change.
        """
        rows = self.manifest.rows(split)
        if not len(rows):
            raise UserError(
                f"{self.dataset.name!r} has no images in the split {split!r}: pass another {option}"
            )
        return rows

    def embedded(self, model: Embedder, rows: np.ndarray, describing: Describing | None = None) -> Vectors:
        """The rows that could be read, and their embeddings on the device; a part at a time."""
        pre = model.preprocessing
        size = pre.channels * pre.resize[0] * pre.resize[1]
        said: set[str] = set()

        def say(sentence: str) -> None:
            if sentence not in said:
                said.add(sentence)
                self.reporter.say(sentence)

        model = model.to(self.device)
        kept, vectors = [], []
        for part in np.array_split(rows, max(1, -(-len(rows) * size // _DECODED_BYTES))):
            self.reporter.start("decode", total=len(part))
            pixels = self.dataset.pixels(
                part,
                resize=pre.resize,
                mode=pre.mode,
                channels=pre.channels,
                interpolation=pre.interpolation,
                skip_unreadable=self.skip_unreadable,
                progress=self.reporter.tick,
                say=say,
            ).to(self.device)
            self.reporter.start("embed", total=len(pixels))
            vectors.append(
                embed_pixels(
                    model,
                    pixels,
                    batch_size=self.batch_size,
                    describing=describing,
                    progress=self.reporter.tick,
                )
            )
            kept.append(pixels.rows.cpu().numpy())
        self.reporter.stop()
        return Vectors(np.concatenate(kept), torch.cat(vectors))


@dataclass
class Source:
    """A maker of vectors, opened.

    Attributes:
        name: What tables call it: as the user wrote it, or its backbone.
        maker: The model or the table.
        facts: What it takes to find it again: where it is and a hash of its weights.
    """

    name: str
    maker: Embedder | Table
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, maker: Maker, *, what: str = "model") -> Source:
        """Opens a model, a saved one, a teacher's reference or a table.

        Raises:
            UserError: It is none of these.
        """
        if isinstance(maker, Embedder):
            backbone = maker.config.backbone
            return cls(backbone, maker, {"model": backbone, "sha256": hash_of_state(maker)})
        path = Path(maker)
        if (path / "table.json").is_file():
            table = Table.open(path)
            facts = {"table": str(maker), "of": table.teacher, "fingerprint": table.fingerprint}
            return cls(str(maker), table, facts)
        opened = open_teacher(str(maker))
        if not isinstance(opened, LiveTeacher):
            raise UserError(f"the {what} {str(maker)!r} is not a model: pass a table of its vectors")
        return cls(str(maker), opened.model, {"model": str(maker), "sha256": _hash_of(maker, opened.model)})

    def holds(self, images: Images, rows: np.ndarray) -> bool:
        """Whether it can give vectors of all these rows: a model can, a table if it has their ids."""
        if isinstance(self.maker, Embedder):
            return True
        return {images.manifest.ids[row] for row in rows.tolist()} <= set(self.maker.ids)

    def vectors(self, images: Images, rows: np.ndarray, describing: Describing | None = None) -> Vectors:
        """The vectors of ascending manifest rows, of those that could be read.

        Raises:
            UserError: An image cannot be read, or a table has no vector for it.
        """
        if isinstance(self.maker, Embedder):
            return images.embedded(self.maker, rows, describing)
        ids = [images.manifest.ids[row] for row in rows.tolist()]
        values = torch.from_numpy(self.maker.read(self.maker.rows(ids)))
        return Vectors(rows, values.to(images.device))


def _hash_of(reference: str | Path, model: Embedder) -> str:
    """The hash of a saved model's file where there is one, else of the weights in memory."""
    text = str(reference)
    folder = packaged_path(text.partition(":")[2]) if text.startswith("packaged:") else Path(text)
    return _hash_of_file(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else hash_of_state(model)


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_of_state(model: Embedder) -> str:
    """A hash of a model's weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def loaded(model: Maker) -> Embedder:
    """A model, or the one in a directory."""
    return model if isinstance(model, Embedder) else load(model)
