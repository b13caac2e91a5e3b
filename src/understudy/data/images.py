"""The one place that reads image files."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path, PurePath

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from understudy.errors import UserError

ENDINGS = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

# What Pillow's many file formats raise on bytes that are not as they should be.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class UnreadableImageError(UserError):
    """An image file that cannot be read.

    Attributes:
        what: The first half of the sentence: the file and what is wrong with it.
    """

    def __init__(self, what: str, cure: str) -> None:
        super().__init__(f"{what}: {cure}")
        self.what = what


def read_image(
    path: str | Path, *, box: tuple[int, int, int, int] | None = None, channels: int = 3
) -> Image.Image:
    """Reads an image of any common kind as plain grey or RGB.

    The EXIF orientation is applied; palettes are resolved; CMYK becomes RGB; what is transparent shows white;
    16-bit grey is scaled to 8 bits (not clipped; wider numbers are refused); of several frames the first is
    taken.

    Args:
        path: The file, or an item of a HuggingFace data set on disk (``birds#train/12``).
        box: Left, upper, right and lower border of the part to keep, in pixels of the upright image.
        channels: 1 for grey (luma), 3 for RGB.

    Returns:
        A loaded image in mode "L" or "RGB".

    Raises:
        UserError: The file does not exist, is not an image, is truncated or corrupt, too large, holds
            floating-point or 32-bit numbers, or does not hold the box.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (4, 3), 200).save(path)
        >>> image = read_image(path)
        >>> image.mode, image.size
        ('RGB', (4, 3))
    """
    path = Path(path)
    name = repr(str(path))
    try:
        source = _source(path)
        with Image.open(source) as opened:
            opened.load()
            image = plain(ImageOps.exif_transpose(opened), channels)
    except FileNotFoundError as error:
        raise UnreadableImageError(f"{name} does not exist", "check the path") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UnreadableImageError(f"{name} cannot be opened ({error.strerror})", "check the path") from error
    except UnidentifiedImageError as error:
        empty = not (source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes)
        what = "is empty (0 bytes)" if empty else "is not an image, or of a kind that Pillow does not read"
        raise UnreadableImageError(f"{name} {what}", "replace or remove it") from error
    except _NoItem as error:
        raise UnreadableImageError(
            f"{name} {error}", "prepare the data set again, or mend or remove the item"
        ) from error
    except _BROKEN as error:
        raise _unreadable(name, error) from error
    if box is None:
        return image
    left, upper, right, lower = box
    if not (0 <= left < right <= image.width and 0 <= upper < lower <= image.height):
        raise UnreadableImageError(
            f"{name} has {image.width} × {image.height} pixels and not the box {' '.join(map(str, box))}",
            "correct the manifest's 'box' (left upper right lower)",
        )
    return image.crop(box)


def read_header(path: Path) -> tuple[int, int, int]:
    """Width and height of an image as its file stores it, and its EXIF orientation (1: upright, to 8).

    Raises:
        UnreadableImageError: It is not there, or not an image.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            return image.width, image.height, orientation if orientation in range(1, 9) else 1
    except _BROKEN as error:
        raise UnreadableImageError(
            f"{str(path)!r} cannot be read as an image", "unpack the official archive again"
        ) from error


def list_images(folder: str | Path) -> list[Path]:
    """Every image file under a folder, by its ending, in the order of the paths' names; hidden ones left out.

    Links to folders are followed, but for those that lead back to a folder they lie in. A folder that is also
    linked to is there under each of its names, as a copy of it would be.

    Args:
        folder: Where to look.

    Returns:
        The paths, each beginning with ``folder``.

    Raises:
        UserError: The folder does not exist or is not one, or a name in it is not UTF-8, which no manifest
            can hold.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"the folder {str(folder)!r} does not exist: check the path")
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file, not a folder: pass the folder that holds the images")
    found: list[Path] = []
    above: dict[Path, frozenset[str]] = {}  # of each folder, where it and those it lies in really are
    for place, folders, files in os.walk(folder, followlinks=True):
        real, outer = os.path.realpath(place), above.get(Path(place).parent, frozenset())
        if real in outer:
            folders.clear()
            continue
        above[Path(place)] = outer | {real}
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(place, name)
            for name in files
            if not name.startswith(".") and PurePath(name).suffix.lower() in ENDINGS
        ]
    for path in found:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the name of {str(path)!r} is not UTF-8 text: rename it") from error
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


class _RangeError(ValueError):
    """Pixels that cannot be scaled to 8 bits, for nothing says what is white."""


class _NoItem(Exception):
    """A path names an item that a HuggingFace data set does not have."""


def _source(path: Path) -> Path | io.BytesIO:
    """What holds an image: its file, or what a HuggingFace data set holds in its place."""
    if "#" not in str(path) or path.exists():
        return path
    from understudy.data.huggingface import item

    try:
        content = item(path)
    except LookupError as error:
        raise _NoItem(str(error.args[0])) from error
    if isinstance(content, bytes):
        return io.BytesIO(content)
    return path if content is None else content


def _unreadable(name: str, error: Exception) -> UnreadableImageError:
    """What is wrong with a file that Pillow gives up on, or that no rule makes 8 bits of."""
    if isinstance(error, _RangeError):
        return UnreadableImageError(f"{name} has neither 8 nor 16 bits ({error})", "convert or remove it")
    if isinstance(error, Image.DecompressionBombError):
        sizes = str(error).split(",")[0]  # how many pixels it has, and how many are read at most
        return UnreadableImageError(f"{name} is too large ({sizes})", "make it smaller or remove it")
    return UnreadableImageError(f"{name} is truncated or corrupt ({error})", "replace or remove it")


def plain(image: Image.Image, channels: int) -> Image.Image:
    """Grey or RGB, 8 bits, opaque."""
    if image.mode == "F":
        raise _RangeError("its pixels are floating-point numbers of unknown range")
    if image.mode.startswith("I"):  # "I;16" of any byte order; "I" is how Pillow gives 16-bit PGM files
        wide = np.asarray(image).astype(np.int64)
        if wide.min() < 0 or wide.max() > 65535:
            raise _RangeError(f"its pixels are whole numbers from {wide.min():,} to {wide.max():,}")
        wide[wide == image.info.get("transparency", -1)] = 65535
        image = Image.fromarray(((wide + 128) // 257).astype(np.uint8))
    if image.mode == "LAB":  # which Pillow does not make grey
        image = image.convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")
