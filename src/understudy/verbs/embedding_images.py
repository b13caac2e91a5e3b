"""The images that a table is made of: read, decoded, and known again when they have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from understudy.data import Pixels, Preprocessing, open_dataset
from understudy.data.decoding import decode_into
from understudy.data.store import Form, packed_pixels
from understudy.data.table import TableWriter
from understudy.data.table.content import content_hashes, file_states
from understudy.errors import UserError
from understudy.verbs.embedding_job import EmbeddingJob


@dataclass
class Loaded:
    """Decoded images of some items, and what their files were.

    Attributes:
        items: Their numbers.
        content: (those that could be read, C, H, W) uint8.
        places: The number of each of those.
        reasons: Why an item could not be read, by its number.
        hashes: A hash of each item's content.
        states: (items, 2) size and time of change of each item's file.
    """

    items: range
    content: torch.Tensor
    places: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    hashes: list[str] = field(default_factory=list)
    states: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))


class JobImages:
    """The items of a job by number, from its data set.

    Args:
        job: Names the data, and which split of it.

    Attributes:
        ids: The id of each item.
        rows: (n,) int64, its manifest row.
        known: The ids of all rows of the manifest.

    Raises:
        UserError: The data cannot be opened, holds texts, or has no such images.
    """

    def __init__(self, job: EmbeddingJob) -> None:
        self._job = job
        self._dataset = open_dataset(job.data)
        manifest = self._dataset.manifest
        if manifest.texts is not None:
            raise UserError(f"the items of {self._dataset.name!r} are texts: only images can be embedded")
        self.rows = np.arange(len(manifest)) if job.split is None else manifest.rows(job.split)
        if not len(self.rows):
            where = "" if job.split is None else f" in the split {job.split!r}: pass another --split"
            raise UserError(f"{self._dataset.name!r} has no images{where}")
        self.known = manifest.ids
        self.ids = [manifest.ids[row] for row in self.rows.tolist()]

    def open(self, pre: Preprocessing, say: Callable[[str], None] | None = None) -> None:
        """Finds the images where they lie decoded already, as a network reads them; before any is loaded."""
        self._pre = pre
        self._held = self._all_pixels(say)

    def load(self, items: range) -> Loaded:
        """Decodes the images of some items; can be called from another thread while others are embedded."""
        rows = self.rows[items.start : items.stop]
        # Before they are decoded, so that a change in between is found later instead of lost.
        states = file_states(self._dataset, rows.tolist())
        hashes = content_hashes(self._dataset, rows.tolist())
        if self._held is not None:
            there = np.isin(rows, self._held.rows.numpy())
            content = self._held.gather(torch.from_numpy(rows[there]))
            gone = {
                items[place]: f"{str(self._dataset.manifest.path(int(rows[place])))!r} could not be packed"
                for place in np.flatnonzero(~there).tolist()
            }
        else:
            pixels = np.zeros((len(rows), self._pre.channels, *self._pre.resize), dtype=np.uint8)
            reasons = decode_into(
                pixels,
                lambda row: self._dataset.image(row, self._pre.channels),
                rows,
                mode=self._pre.mode,
                interpolation=self._pre.interpolation,
            )
            there = np.ones(len(rows), dtype=bool)
            there[list(reasons)] = False
            content = torch.from_numpy(pixels if there.all() else pixels[there])
            gone = {items[place]: reason for place, reason in reasons.items()}
        places = [items[place] for place in np.flatnonzero(there).tolist()]
        return Loaded(items, content, places, gone, hashes, states)

    def changed(self, writer: TableWriter, shard: int) -> str | None:
        """The first image of a shard that is another one than when the shard was written.

        Files that look untouched are not read.
        """
        known, items = writer.content(shard), writer.items(shard)
        if known is None:
            return None
        hashes, states = known
        rows = self.rows[items.start : items.stop]
        places = np.flatnonzero((file_states(self._dataset, rows.tolist()) != states).any(axis=1))
        now = content_hashes(self._dataset, rows[places].tolist())
        changed = [place for place, new in zip(places.tolist(), now, strict=True) if new != hashes[place]]
        return self.ids[items[changed[0]]] if changed else None

    def _all_pixels(self, say: Callable[[str], None] | None) -> Pixels | None:
        """All images, where they lie decoded already: in memory, or in a pack."""
        data, pre = self._dataset, self._pre
        if data.embedded is not None and data.shape == (pre.channels, *pre.resize):
            return data.pixels(self.rows, resize=pre.resize, channels=pre.channels)
        if data.pack is None:
            return None
        form = Form((pre.resize[0], pre.resize[1]), pre.mode, pre.channels, pre.interpolation)
        return packed_pixels(
            data.pack, data.manifest, self.rows, form, skip_unreadable=self._job.skip_unreadable, say=say
        )
