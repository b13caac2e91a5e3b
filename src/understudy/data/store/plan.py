"""What goes where in a store, known before anything is decoded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import PIL

from understudy.data.manifest import Manifest
from understudy.data.store.form import Form

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """The images of a manifest, in its order, divided into shards.

    Attributes:
        manifest: The images.
        form: What they become.
        images: How many a full shard holds.
    """

    manifest: Manifest
    form: Form
    images: int

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-len(self.manifest) // self.images)

    def rows(self, shard: int) -> np.ndarray:
        """The manifest rows of a shard."""
        return np.arange(shard * self.images, min((shard + 1) * self.images, len(self.manifest)))

    @cached_property
    def name(self) -> str:
        """A hash of all that decides about the pixels beside the files: the same name, the same store."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([FORMAT, self.form._asdict(), self.images, versions()]).encode())
        for row, name in enumerate(self.manifest.ids):
            item = [name, self.manifest.paths[row], self.manifest.box(row)]
            digest.update(json.dumps(item).encode())
        return digest.hexdigest()


def versions() -> dict[str, Any]:
    """The libraries whose versions decide about the pixels."""
    return {"pillow": PIL.__version__}
