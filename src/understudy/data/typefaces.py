"""The embedded data set: characters in fourteen typefaces, drawn once from Matplotlib's own fonts."""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.dataset import Dataset
from understudy.data.manifest import Manifest
from understudy.errors import UserError
from understudy.files import atomic_file

TYPEFACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
)
SPLIT_OF_SCRIPT = {
    "LATIN": "train",
    "CYRILLIC": "train",
    "GREEK": "test",
    "GEORGIAN": "test",
    "ARMENIAN": "test",
}

_FEWEST_TYPEFACES = 8
_FORMAT = 1  # raised when the selection or the drawing changes, so that no older cache is taken


@dataclass(frozen=True)
class _Glyphs:
    """Drawings, in the order of characters and then typefaces.

    Attributes:
        images: (n, size, size) uint8, black on white.
        characters: (n,) int32 code points.
        faces: (n,) uint8 places in `TYPEFACES`.
    """

    images: np.ndarray
    characters: np.ndarray
    faces: np.ndarray

    def digest(self) -> str:
        state = hashlib.sha256()
        for array in (self.images, self.characters, self.faces):
            state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()


def typefaces(size: int = 40, *, cache: str | Path | None = None) -> Dataset:
    """Opens the typefaces: the class is the character (``U+00E9``), the camera the typeface.

    Letters, decimal and other numbers, punctuation and symbols that at least eight of the fourteen typefaces
    of `TYPEFACES` cover; blank drawings are left out, and so are combining characters, control characters,
    spaces, and two kinds that only repeat the shape of others: modifier symbols (free-standing accents) and
    letter numbers (Roman numerals). Latin and Cyrillic are for training; Greek, Georgian and Armenian, never
    seen there, for testing; other scripts and symbols belong to no split, nor do the few characters that
    Unicode defines as another one (the Greek letters with oxia are those with tonos). What remains alike in
    print (A and А) stays.

    Drawn without hinting at 0.8 em a side, centred by the ink, so characters keep their size relative to each
    other; the few that would not fit with a margin of one pixel are drawn smaller. The same to the byte for a
    given Matplotlib; kept in the user's cache directory.

    Args:
        size: Side of the square images in pixels, at least 8.
        cache: Another directory for the cache.

    Returns:
        A data set with embedded grey images.

    Raises:
        UserError: The size is too small, or Matplotlib's fonts are not where they belong.
    """
    if size < 8:
        raise UserError(f"typefaces of {size} pixels a side cannot be told apart: make size at least 8")
    glyphs = _cached(size, _cache_file(size, cache))
    return Dataset("typefaces", _manifest(glyphs), embedded=glyphs.images[:, None])


def script(character: str) -> str:
    """The script of a character, the first word of its Unicode name.

    Example:
        >>> script("é"), script("я")
        ('LATIN', 'CYRILLIC')
    """
    return unicodedata.name(character, "UNNAMED").split()[0]


def select(coverage: list[set[int]]) -> list[int]:
    """The characters of the data set, sorted.

    Args:
        coverage: Code points of each typeface.

    Returns:
        Those of a wanted kind that enough of the typefaces have.

    Example:
        >>> select([{65, 66, 0x301, 0x2163}] * 8)
        [65, 66]
    """
    counts = Counter(code for codes in coverage for code in codes)
    return sorted(code for code, count in counts.items() if count >= _FEWEST_TYPEFACES and _wanted(chr(code)))


def _wanted(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] in "LNPS" and kind not in ("Nl", "Sk")


def _manifest(glyphs: _Glyphs) -> Manifest:
    codes = np.unique(glyphs.characters).tolist()
    names = {code: f"U+{code:04X}" for code in codes}
    split_of = {code: _split(chr(code)) for code in codes}
    rows = list(zip(glyphs.characters.tolist(), glyphs.faces.tolist(), strict=True))
    return Manifest.of_paths(
        "typefaces",
        [f"{names[code]}/{TYPEFACES[face]}" for code, face in rows],
        labels=[names[code] for code, _ in rows],
        splits=[split_of[code] for code, _ in rows],
        cameras=[TYPEFACES[face] for _, face in rows],
    )


def _split(character: str) -> str:
    if unicodedata.normalize("NFC", character) != character:
        return ""
    return SPLIT_OF_SCRIPT.get(script(character), "")


def _cache_file(size: int, cache: str | Path | None) -> Path:
    from importlib.metadata import version

    from platformdirs import user_cache_dir

    folder = Path(user_cache_dir("understudy") if cache is None else cache)
    return folder / f"typefaces-v{_FORMAT}-{size}px-matplotlib-{version('matplotlib')}.safetensors"


def _cached(size: int, file: Path) -> _Glyphs:
    if file.exists():
        glyphs = _load(file, size)
        if glyphs is not None:
            return glyphs
        warnings.warn(
            f"the cached typefaces in {str(file)!r} are damaged: they are drawn again", stacklevel=3
        )
    glyphs = _draw_all(size)
    try:
        _save(glyphs, file)
    except (OSError, UserError) as error:
        warnings.warn(
            f"the typefaces are drawn again next time, for they cannot be cached: {error}", stacklevel=3
        )
    return glyphs


def _save(glyphs: _Glyphs, file: Path) -> None:
    from safetensors.numpy import save

    tensors = {"images": glyphs.images, "characters": glyphs.characters, "faces": glyphs.faces}
    with atomic_file(file) as draft:
        draft.write_bytes(save(tensors, metadata={"sha256": glyphs.digest()}))


def _load(file: Path, size: int) -> _Glyphs | None:
    """The cached drawings; None when the file is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            digest = (opened.metadata() or {}).get("sha256")
            glyphs = _Glyphs(*(opened.get_tensor(name) for name in ("images", "characters", "faces")))
    except (SafetensorError, OSError, ValueError):
        return None
    return glyphs if glyphs.images.shape[1:] == (size, size) and glyphs.digest() == digest else None


def _draw_all(size: int) -> _Glyphs:
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    folder = Path(get_data_path()) / "fonts" / "ttf"
    missing = [name for name in TYPEFACES if not (folder / f"{name}.ttf").exists()]
    if missing:
        raise UserError(
            f"{str(folder)!r} lacks {missing[0]}.ttf, which Matplotlib ships: install Matplotlib again"
        )
    fonts = [FT2Font(str(folder / f"{name}.ttf")) for name in TYPEFACES]
    coverage = [set(font.get_charmap()) for font in fonts]
    characters = select(coverage)
    drawn: dict[tuple[int, int], np.ndarray] = {}
    for face, font in enumerate(fonts):
        for code in characters:
            if code in coverage[face]:
                image = _draw(font, chr(code), size)
                if image is not None:
                    drawn[code, face] = image
    keys = sorted(drawn)
    return _Glyphs(
        images=np.stack([drawn[key] for key in keys]),
        characters=np.array([code for code, _ in keys], dtype=np.int32),
        faces=np.array([face for _, face in keys], dtype=np.uint8),
    )


def _draw(font: Any, character: str, size: int) -> np.ndarray | None:
    """Black ink on white, centred; None where there is no ink."""
    em = 0.8 * size
    ink = _ink(font, character, em)
    while ink.size and max(ink.shape) > size - 2:
        em *= min(0.98, (size - 2) / max(ink.shape))
        ink = _ink(font, character, em)
    if not ink.size:
        return None
    image = np.full((size, size), 255, dtype=np.uint8)
    (height, width), upper, left = ink.shape, (size - ink.shape[0]) // 2, (size - ink.shape[1]) // 2
    image[upper : upper + height, left : left + width] -= ink
    return image


def _ink(font: Any, character: str, em: float) -> np.ndarray:
    """The antialiased drawing at ``em`` pixels an em, cut to its ink."""
    from matplotlib.ft2font import LoadFlags

    font.set_size(em, 72)  # points are pixels at 72 dots an inch
    font.set_text(character, 0.0, flags=LoadFlags.NO_HINTING)
    font.draw_glyphs_to_bitmap(antialiased=True)
    drawn = np.array(font.get_image(), dtype=np.uint8)
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    if not len(rows):
        return drawn[:0, :0]
    return drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
