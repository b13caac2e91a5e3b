"""A data set: a manifest, and how to see its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from understudy.data.folders import manifest_from_folder
from understudy.data.images import read_image
from understudy.data.manifest import Manifest, read_manifest
from understudy.data.omniglot import is_omniglot, manifest_from_omniglot
from understudy.data.pixels import Pixels, Progress, decode_all
from understudy.data.preprocessing import Interpolation, ResizeMode
from understudy.errors import UserError, suggest

EMBEDDED = ("typefaces",)


@dataclass(frozen=True)
class Dataset:
    """A manifest with a name.

    Attributes:
        name: What reports call it.
        manifest: The table of the items.
        embedded: (n, C, H, W) uint8 images of all rows, for data that is not in files of its own; else None.
    """

    name: str
    manifest: Manifest
    embedded: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width of all images where they are known to be alike; else None."""
        if self.embedded is None:
            return None
        channels, height, width = self.embedded.shape[1:]
        return channels, height, width

    def image(self, row: int, channels: int = 3) -> Image.Image:
        """The image of a manifest row, cut to its box, as grey (1) or RGB (3).

        Raises:
            UserError: It cannot be read, or the items are texts.
        """
        if self.embedded is not None:
            pixels = self.embedded[row].transpose(1, 2, 0)
            image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
            return image.convert("L" if channels == 1 else "RGB")
        if self.manifest.texts is not None:
            raise UserError(f"the items of {self.name!r} are texts: they have no pixels")
        return read_image(self.manifest.path(row), box=self.manifest.box(row), channels=channels)

    def pixels(
        self,
        rows: Sequence[int] | np.ndarray | None = None,
        *,
        resize: tuple[int, int],
        mode: ResizeMode = "shorter",
        channels: int = 3,
        interpolation: Interpolation = "bicubic",
        workers: int | None = None,
        skip_unreadable: bool = False,
        progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Pixels:
        """Decodes images into memory; see `understudy.data.pixels.decode_all`.

        Args:
            rows: Manifest rows; none: all.
            resize: Height and width.
            mode: ``squash`` or ``shorter``.
            channels: 1 or 3.
            interpolation: The antialiased filter.
            workers: Threads.
            skip_unreadable: Leave unreadable images out instead of stopping.
            progress: Called with (done, total).
            say: Told which images were left out.

        Returns:
            The images, asked for by their manifest rows.

        Raises:
            UserError: They do not fit into memory, or some cannot be read.
        """
        wanted = np.arange(len(self.manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.embedded is not None and self.shape == (channels, *resize):
            return Pixels(torch.from_numpy(self.embedded[wanted]), torch.from_numpy(wanted))
        return decode_all(
            lambda row: self.image(row, channels),
            wanted,
            resize=resize,
            mode=mode,
            channels=channels,
            interpolation=interpolation,
            workers=workers,
            skip_unreadable=skip_unreadable,
            progress=progress,
            say=say,
        )


def open_dataset(reference: str | Path | Manifest) -> Dataset:
    """Opens a data set by whatever names it.

    Args:
        reference: ``"typefaces"``, a manifest (``.csv``, ``.parquet``), a folder of images (also Omniglot's),
            or a manifest in memory.

    Returns:
        The data set; nothing is decoded yet.

    Raises:
        UserError: It is none of these, or it is not in order.

    Example:
        >>> open_dataset("typefces")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: 'typefces' is neither a manifest (.csv, .parquet) nor a folder nor a data
        set that ships with understudy: did you mean 'typefaces'?
    """
    if isinstance(reference, Manifest):
        return Dataset("manifest", reference)
    if reference in EMBEDDED:
        from understudy.data.typefaces import typefaces

        return typefaces()
    path = Path(reference)
    if path.is_dir():
        name = path.resolve().name
        manifest = manifest_from_omniglot(path) if is_omniglot(path) else manifest_from_folder(path)
        return Dataset(name, manifest)
    if path.exists() or path.suffix.lower() in (".csv", ".parquet"):
        return Dataset(path.stem, read_manifest(path))
    raise UserError(
        f"{str(reference)!r} is neither a manifest (.csv, .parquet) nor a folder nor a data set that ships "
        f"with understudy: {suggest(str(reference), EMBEDDED)}"
    )
