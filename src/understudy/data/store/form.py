"""In which form images are packed."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple, get_args

from understudy.data.preprocessing import Interpolation, ResizeMode
from understudy.errors import UserError, suggest

# Lines begin at multiples of this, and full shards end at multiples of the page below: so that shards can be
# mapped one behind the other and torch copies whole words.
_LINE, _PAGE = 64, 16384
_MODES: tuple[ResizeMode, ...] = get_args(ResizeMode)
_FILTERS: tuple[Interpolation, ...] = get_args(Interpolation)
_COLOURS = {"grey": 1, "rgb": 3}


class Form(NamedTuple):
    """The form of decoded images.

    Attributes:
        resize: Height and width, see `understudy.data.preprocessing.decode`.
        mode: See there.
        channels: 1 or 3.
        interpolation: See there.

    Example:
        >>> str(Form((224, 224))), parse_size(str(Form((224, 224)))) == Form((224, 224))
        ('224x224,shorter,rgb,bicubic', True)
    """

    resize: tuple[int, int]
    mode: ResizeMode = "shorter"
    channels: int = 3
    interpolation: Interpolation = "bicubic"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, *self.resize

    @property
    def line(self) -> int:
        """Bytes from one image to the next: its own and a few to the next multiple of 64."""
        return -(-math.prod(self.shape) // _LINE) * _LINE

    def images_in(self, shard_bytes: int) -> int:
        """How many images a full shard holds: so many bytes, or a little less, or the least that can be."""
        step = _PAGE // math.gcd(self.line, _PAGE)
        return max(step, shard_bytes // self.line // step * step)

    def __str__(self) -> str:
        colour = next(name for name, channels in _COLOURS.items() if channels == self.channels)
        return f"{self.resize[0]}x{self.resize[1]},{self.mode},{colour},{self.interpolation}"

    @classmethod
    def of(cls, value: dict[str, Any]) -> Form:
        """From what `_asdict` gave and JSON has been through."""
        height, width = value["resize"]
        return cls((height, width), value["mode"], value["channels"], value["interpolation"])


def parse_size(text: str) -> Form:
    """Reads a form as people write it on a command line.

    Args:
        text: One side of a square, which keeps the proportions and cuts what sticks out (``224``), or height
            and width, to which images are squashed (``256x128``); then, if wanted and with commas, ``grey``,
            ``shorter`` or ``squash``, ``bilinear``, ``bicubic`` or ``lanczos``.

    Raises:
        UserError: It is not such a text.

    Example:
        >>> parse_size("224")
        Form(resize=(224, 224), mode='shorter', channels=3, interpolation='bicubic')
        >>> parse_size("256x128,bilinear").mode, parse_size("105,grey").channels
        ('squash', 1)
    """
    size, *words = [part.strip().lower() for part in text.split(",")]
    match = re.fullmatch(r"(\d+)(?:[x×](\d+))?", size)
    if match is None or not int(match[1]) or not int(match[2] or 1):
        raise UserError(
            f"{text!r} is not a size to pack at: write one side, such as 224, or height x width, such as "
            "256x128"
        )
    height, width = int(match[1]), int(match[2] or match[1])
    form = Form((height, width), "squash" if match[2] else "shorter")
    for word in words:
        if word in _COLOURS:
            form = form._replace(channels=_COLOURS[word])
        elif word in _MODES:
            form = form._replace(mode=word)
        elif word in _FILTERS:
            form = form._replace(interpolation=word)
        else:
            known = [*_COLOURS, *_MODES, *_FILTERS]
            raise UserError(f"{text!r} has a word {word!r} behind the size: {suggest(word, known)}")
    return form
