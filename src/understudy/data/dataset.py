"""A data set: a manifest, and how to see its images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from understudy.data.decoding import Progress, decode_all
from understudy.data.folders import manifest_from_folder
from understudy.data.images import read_image
from understudy.data.manifest import Manifest, read_manifest
from understudy.data.pixels import Pixels
from understudy.data.preprocessing import Interpolation, ResizeMode
from understudy.data.protocol import Protocol, divided, read_protocol, with_split
from understudy.data.store import Form, default_place, packed_pixels
from understudy.errors import UserError, suggest

EMBEDDED = ("typefaces",)


@dataclass(frozen=True)
class Dataset:
    """A manifest with a name.

    Attributes:
        name: What reports call it.
        manifest: The table of the items.
        embedded: (n, C, H, W) uint8 images of all rows, for data that is not in files of its own; else None.
        protocol: Which image is relevant to which query, for data whose labels do not say it; else None.
        pack: The store of the decoded images that lies beside the data; see `understudy.data.store`.
    """

    name: str
    manifest: Manifest
    embedded: np.ndarray | None = None
    protocol: Protocol | None = None
    pack: Path | None = None

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
        """The decoded images: from the pack where one fits, else read from their files into memory.

        See `understudy.data.decoding.decode_all`; the pixels are the same to the bit.

        Args:
            rows: Manifest rows; none: all.
            resize: Height and width.
            mode: ``squash`` or ``shorter``.
            channels: 1 or 3.
            interpolation: The antialiased filter.
            workers: Threads.
            skip_unreadable: Leave unreadable images out instead of stopping.
            progress: Called with (done, total).
            say: Told which images were left out, and why a pack is not used.

        Returns:
            The images, asked for by their manifest rows.

        Raises:
            UserError: They do not fit into memory, some cannot be read, or some have changed since they were
                packed.
        """
        wanted = np.arange(len(self.manifest)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.embedded is not None and self.shape == (channels, *resize):
            return Pixels(torch.from_numpy(self.embedded[wanted]), torch.from_numpy(wanted))
        if self.pack is not None:
            form = Form((resize[0], resize[1]), mode, channels, interpolation)
            packed = packed_pixels(
                self.pack, self.manifest, wanted, form, skip_unreadable=skip_unreadable, say=say
            )
            if packed is not None:
                return packed
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


def open_dataset(reference: str | Path | Manifest, *, split_name: str | None = None) -> Dataset:
    """Opens a data set by whatever names it.

    Args:
        reference: ``"typefaces"``, a manifest (``.csv``, ``.parquet``; its protocol beside it is read too), a
            folder of images, a data set in its official layout, or a manifest in memory.
        split_name: An alternative split of that data set, such as ``"detected-01"`` of CUHK03.

    Returns:
        The data set; nothing is decoded yet.

    Raises:
        UserError: It is none of these, it is not in order, or it has no split of that name.

    Example:
        >>> open_dataset("typefces")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: 'typefces' is neither a manifest (.csv, .parquet) nor a folder nor a data
        set that ships with understudy: did you mean 'typefaces'?
    """
    if isinstance(reference, Manifest):
        return _plain(Dataset("manifest", reference), split_name)
    if reference in EMBEDDED:
        from understudy.data.typefaces import typefaces

        return _plain(typefaces(), split_name)
    path = Path(reference)
    beside = default_place(path)
    pack = beside if beside.is_dir() else None
    if path.is_dir():
        return replace(_open_folder(path, split_name), pack=pack)
    if path.exists() or path.suffix.lower() in (".csv", ".parquet"):
        manifest = read_manifest(path)
        protocol = read_protocol(path, manifest)
        if split_name is not None:
            manifest = with_split(manifest, path, split_name)
        return Dataset(path.stem, manifest, protocol=protocol, pack=pack)
    raise UserError(
        f"{str(reference)!r} is neither a manifest (.csv, .parquet) nor a folder nor a data set that ships "
        f"with understudy: {suggest(str(reference), EMBEDDED)}"
    )


def _open_folder(path: Path, split_name: str | None) -> Dataset:
    """A data set in its official layout, else any folder of images."""
    from understudy.data.layouts import LAYOUTS
    from understudy.data.layouts._counts import IncompleteError

    name = path.resolve().name
    for key, layout in LAYOUTS.items():
        if layout.recognises is not None and layout.recognises(path):
            if layout.writes:
                raise UserError(
                    f"{str(path)!r} must be prepared once: run `understudy prepare {key} {path} -o "
                    f"{key}.parquet` and pass {key}.parquet"
                )
            try:
                prepared = layout.read(path)
            except IncompleteError as error:
                raise UserError(
                    f"{error.what}: unpack the official archive again, or go on with what is there by "
                    f"`understudy prepare {key} {path} --partial -o {key}.parquet` and pass {key}.parquet"
                ) from error
            manifest = prepared.manifest
            if split_name is not None:
                if split_name not in prepared.splits:
                    raise _no_split(name, split_name, prepared.splits)
                manifest = divided(manifest, prepared.splits[split_name], where=repr(str(path)))
            return Dataset(name, manifest, protocol=prepared.protocol)
    return _plain(Dataset(name, manifest_from_folder(path)), split_name)


def _plain(dataset: Dataset, split_name: str | None) -> Dataset:
    """A data set that is divided in one way only."""
    if split_name is not None:
        raise _no_split(dataset.name, split_name, ())
    return dataset


def _no_split(name: str, split_name: str, there: Iterable[str]) -> UserError:
    known = list(there)
    cure = suggest(split_name, known) if known else "it has none, leave the name out"
    return UserError(f"{name!r} has no split named {split_name!r}: {cure}")
