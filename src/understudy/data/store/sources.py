"""The files that images are packed from: whether they are still what they were."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from understudy.data.huggingface import saved_at

NO_FILE = (-1, -1)


def state(path: Path) -> tuple[int, int]:
    """Size and time of change (in ns) of a file: cheap to compare; `NO_FILE` where there is none.

    An item of a saved HuggingFace set has the size -1, and the time at which the set was saved.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return NO_FILE[0], saved_at(path)
    return found.st_size, found.st_mtime_ns


def content_hash(path: Path, box: tuple[int, int, int, int] | None, image: Image.Image | None = None) -> str:
    """What an image is made from: a hash of its file's bytes and its box.

    Args:
        path: The file.
        box: The part that counts.
        image: Hashed instead where the image has no file of its own.

    Raises:
        OSError: There is neither.
    """
    digest = hashlib.blake2b(digest_size=16)
    if image is None:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    else:
        digest.update(repr((image.mode, image.size)).encode())
        digest.update(image.tobytes())
    digest.update(repr(box).encode())
    return digest.hexdigest()


def bytes_hash(content: bytes | np.ndarray) -> str:
    """The checksum of a shard."""
    return hashlib.blake2b(
        content if isinstance(content, bytes) else content.data, digest_size=16
    ).hexdigest()
