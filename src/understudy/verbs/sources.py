"""Who makes vectors of a data set's images: a model, in memory or saved, or a table of stored ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from understudy.data import Dataset, Manifest, open_dataset
from understudy.data.table import Table
from understudy.data.table.content import refuse_changed
from understudy.errors import UserError
from understudy.evaluation import Describing, embed_pixels
from understudy.evaluation.rows import Vectors
from understudy.models import Embedder, load
from understudy.models.artefact import WEIGHTS
from understudy.teachers import LimitedTeacher, LiveTeacher, TableTeacher, open_teacher
from understudy.teachers.asked import AskedTeacher
from understudy.teachers.identity import hash_of_file, hash_of_weights, identity
from understudy.teachers.packaged import packaged_path
from understudy.teachers.stored import open_stored
from understudy.training.processes.distributed import gather_objects
from understudy.training.processes.together import join, own_batches
from understudy.training.progress import Reporter

Maker = Embedder | str | Path
Asked = AskedTeacher | LimitedTeacher

_DECODED_BYTES = 2**30
"""How much of decoded images is held at a time."""


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

    def embedded(
        self, model: Embedder | Asked, rows: np.ndarray, describing: Describing | None = None
    ) -> Vectors:
        """The rows that could be read, and their embeddings on the device; a part at a time.

        Several processes decode and embed a share of each part.
        """
        pre = model.preprocessing
        assert pre is not None  # `Source.open` has seen to it
        if not isinstance(model, Embedder):
            model.call_images(self.manifest.ids)
        size = pre.channels * pre.resize[0] * pre.resize[1]
        said: set[str] = set()

        def say(sentence: str) -> None:
            if sentence not in said:
                said.add(sentence)
                self.reporter.say(sentence)

        model = model.to(self.device)
        kept, vectors = [], []
        for part in np.array_split(rows, max(1, -(-len(rows) * size // _DECODED_BYTES))):
            own = part[own_batches(len(part), self.batch_size)]
            made = self._made(model, own, describing, say) if len(own) else None
            kept += gather_objects(own if made is None else made.rows)
            vectors.append(join(None if made is None else made.values))
        self.reporter.stop()
        return Vectors(np.concatenate(kept), torch.cat(vectors))

    def _made(
        self,
        model: Embedder | Asked,
        rows: np.ndarray,
        describing: Describing | None,
        say: Callable[[str], None],
    ) -> Vectors:
        """Decodes and embeds rows that fit into memory together."""
        pre = model.preprocessing
        assert pre is not None
        self.reporter.start("decode", total=len(rows))
        pixels = self.dataset.pixels(
            rows,
            resize=pre.resize,
            mode=pre.mode,
            channels=pre.channels,
            interpolation=pre.interpolation,
            skip_unreadable=self.skip_unreadable,
            progress=self.reporter.tick,
            say=say,
        ).to(self.device)
        self.reporter.start("embed", total=len(pixels))
        values = embed_pixels(
            model, pixels, batch_size=self.batch_size, describing=describing, progress=self.reporter.tick
        )
        return Vectors(pixels.rows.cpu().numpy(), values)


@dataclass
class Source:
    """A maker of vectors, opened.

    Attributes:
        name: What tables call it: as the user wrote it, or its backbone.
        maker: The model, the table, or a teacher that can only be asked.
        facts: What it takes to find it again: where it is and a hash of its weights.
    """

    name: str
    maker: Embedder | Table | Asked
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, maker: Maker, *, what: str = "model") -> Source:
        """Opens a model, a saved one, a teacher's reference or a table.

        Raises:
            UserError: It is none of these.
        """
        if isinstance(maker, Embedder):
            backbone = maker.config.backbone
            return cls(backbone, maker, {"model": backbone, "sha256": hash_of_weights(maker)})
        name = str(maker)
        is_table = (Path(maker) / "table.json").is_file()
        opened = open_stored(name) if is_table else open_teacher(name)
        if isinstance(opened, TableTeacher):
            table = opened.table
            if table.recipe is not None:
                raise UserError(
                    f"the table {name!r} holds augmented views: measure a table of the clean images, "
                    "embedded without --views and --recipe"
                )
            facts = {"table": name, "of": table.teacher, "fingerprint": table.fingerprint}
            return cls(name, table, facts)
        if isinstance(opened, LiveTeacher):
            return cls(name, opened.model, {"model": name, "sha256": _hash_of(maker, opened.model)})
        if not isinstance(opened, AskedTeacher | LimitedTeacher) or opened.preprocessing is None:
            raise UserError(f"the {what} {name!r} embeds no images: pass a table of its vectors")
        return cls(name, opened, {"teacher": name, **identity(opened)})

    def holds(self, images: Images, rows: np.ndarray) -> bool:
        """Whether it can give vectors of all these rows: a model can, a table if it has their ids."""
        if not isinstance(self.maker, Table):
            return True
        return {images.manifest.ids[row] for row in rows.tolist()} <= set(self.maker.ids)

    def vectors(self, images: Images, rows: np.ndarray, describing: Describing | None = None) -> Vectors:
        """The vectors of ascending manifest rows, of those that could be read.

        Raises:
            UserError: An image cannot be read; or a table has no vector for it, or one of what it was before.
        """
        if not isinstance(self.maker, Table):
            return images.embedded(self.maker, rows, describing)
        ids = [images.manifest.ids[row] for row in rows.tolist()]
        numbers = self.maker.rows(ids)
        refuse_changed(self.maker, images.dataset, rows, numbers)
        values = torch.from_numpy(self.maker.read(numbers))
        return Vectors(rows, values.to(images.device))


def _hash_of(reference: str | Path, model: Embedder) -> str:
    """The hash of a saved model's file where there is one, else of the weights in memory."""
    text = str(reference)
    folder = packaged_path(text.partition(":")[2]) if text.startswith("packaged:") else Path(text)
    return hash_of_file(folder / WEIGHTS) if (folder / WEIGHTS).is_file() else hash_of_weights(model)


def loaded(model: Maker) -> Embedder:
    """A model, or the one in a directory."""
    return model if isinstance(model, Embedder) else load(model)
