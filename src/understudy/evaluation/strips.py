"""Retrieval strips: a query and what was found for it, right in green and wrong in red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from understudy import search
from understudy.errors import UserError, unknown
from understudy.files import atomic_directory

Choose = Literal["random", "worst", "different"]
Relation = Literal["right", "wrong"]

COLOURS: dict[Relation, str] = {"right": "#2a9d4a", "wrong": "#d23c3c"}
_INK, _FAINT, _GROUND, _MAT = "#1f2328", "#6a737d", "#ffffff", "#f2f3f5"

_MARGIN, _GAP, _BORDER, _BREATH = 24, 6, 4, 18
_CAPTION, _SMALL, _LEAD = 17, 14, 3


@dataclass(frozen=True)
class Row:
    """What one model found for a query.

    Attributes:
        name: The model; empty where there is only one.
        score: How well it did, such as ``AP 63.2 %``.
        found: The images in the order of their ranks, each with its relation to the query.
    """

    name: str
    score: str
    found: Sequence[tuple[Image.Image, Relation]]


@dataclass(frozen=True)
class Strip:
    """A query and the rows of one model or several.

    Attributes:
        caption: What the query shows, such as its label.
        query: The image.
        rows: One a model, drawn under each other.
    """

    caption: str
    query: Image.Image
    rows: Sequence[Row]


def nearest(
    query: Tensor, gallery: Tensor, relation: Tensor, k: int, *, metric: search.Metric = "cosine"
) -> tuple[Tensor, Tensor]:
    """The first results of some queries, and which of them are right.

    Args:
        query: (n, d) embeddings.
        gallery: (m, d) embeddings.
        relation: (n, m) int8: 1 right, 0 wrong, −1 not looked at (junk, the query itself, its own camera).
        k: How many results; fewer where the gallery has no more.
        metric: The distance.

    Returns:
        (n, k) int64 gallery rows, −1 where a query sees no more, and (n, k) boolean.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.5, 0.5]])
        >>> nearest(points[:1], points, torch.tensor([[-1, 0, 1]], dtype=torch.int8), 2)
        (tensor([[1, 2]]), tensor([[False,  True]]))
    """
    hidden = [(row < 0).nonzero()[:, 0] for row in relation]
    _, rows = search.topk(query, gallery, min(k, len(gallery)), exclude=hidden, metric=metric)
    return rows, (relation.gather(1, rows.clamp(min=0)) == 1) & (rows >= 0)


def check_choice(how: str, models: int) -> None:
    """Refuses a choice of queries that cannot be made.

    Raises:
        UserError: There is no such choice, or only one model to differ.
    """
    if how not in get_args(Choose):
        raise unknown("choice of strips", how, get_args(Choose))
    if how == "different" and models < 2:
        raise UserError(
            "strips of the queries that differ most need two models: pass another one to compare with"
        )


def choose_queries(scores: Sequence[Tensor], count: int, how: str = "random", *, seed: int = 0) -> list[int]:
    """Which queries to show.

    Args:
        scores: For each model, (n,) how well each query went, such as its average precision; NaN where it
            does not count: such queries are not shown.
        count: How many; fewer where there are no more.
        how: ``random`` by the seed, in the order of the queries; ``worst``: the lowest of the first model
            first; ``different``: the largest difference between two models first.
        seed: Of the random choice.

    Raises:
        UserError: There is no such choice, or only one model to differ.

    Example:
        >>> one, two = torch.tensor([0.9, 0.2, float("nan"), 0.5]), torch.tensor([0.6, 0.3, 0.0, 1.0])
        >>> choose_queries([one, two], 2, "worst"), choose_queries([one, two], 2, "different")
        ([1, 3], [3, 0])
    """
    check_choice(how, len(scores))
    table = torch.stack([score.double() for score in scores])
    counted = (~table.isnan().any(0)).nonzero()[:, 0]
    if how == "random":
        order = np.random.default_rng(seed).permutation(len(counted))[:count]
        return sorted(counted[torch.from_numpy(order)].tolist())
    seen = table[:, counted]
    keys = seen[0] if how == "worst" else seen.amin(0) - seen.amax(0)
    return counted[keys.argsort(stable=True)[:count]].tolist()


def draw_page(strips: Sequence[Strip], *, height: int = 84, title: str = "") -> Image.Image:
    """Draws strips under each other.

    Args:
        strips: At least one.
        height: Of an image, in pixels; its width follows the queries' usual proportions.
        title: A line at the top.

    Returns:
        The page, RGB.

    Example:
        >>> dot = Image.new("L", (40, 40), "black")
        >>> page = draw_page([Strip("U+0021", dot, [Row("", "AP 50.0 %", [(dot, "right"), (dot, "wrong")])])])
        >>> page.mode, page.width > 3 * 84
        ('RGB', True)
    """
    width = _usual_width(strips, height)
    columns = max(len(row.found) for strip in strips for row in strip.rows)
    cell = (width + 2 * _BORDER + _GAP, height + 2 * _BORDER)
    left = _MARGIN + cell[0] + 2 * _GAP
    needed = left + columns * cell[0] - _GAP + _MARGIN
    heads = [_head(strip) for strip in strips]
    total = _MARGIN + (_CAPTION + _BREATH if title else 0)
    tops = []
    for strip in strips:
        tops.append(total)
        total += _CAPTION + _GAP + _LEAD + len(strip.rows) * (_row_head(strip) + cell[1] + _GAP) + _BREATH
    page = Image.new("RGB", (max(needed, _widest(heads, title)), total - _BREATH + _MARGIN), _GROUND)
    pen = ImageDraw.Draw(page)
    if title:
        pen.text((_MARGIN, _MARGIN), title, fill=_INK, font=_font(_CAPTION))
    for strip, head, top in zip(strips, heads, tops, strict=True):
        pen.text((_MARGIN, top), head, fill=_INK, font=_font(_CAPTION))
        y = top + _CAPTION + _GAP + _LEAD
        _paste(page, strip.query, (_MARGIN, y + _row_head(strip)), (width, height), None)
        for row in strip.rows:
            if _row_head(strip):
                pen.text((left, y), f"{row.name}   {row.score}", fill=_FAINT, font=_font(_SMALL))
                y += _row_head(strip)
            for place, (image, relation) in enumerate(row.found):
                _paste(page, image, (left + place * cell[0], y), (width, height), COLOURS[relation])
            y += cell[1] + _GAP
    return page


def write_pages(
    strips: Sequence[Strip], directory: str | Path, *, per_page: int = 8, title: str = ""
) -> list[Path]:
    """Writes strips as ``strips-1.png``, ``strips-2.png``, …, all or none.

    Args:
        strips: At least one.
        directory: Where they are to stand; it must not exist.
        per_page: Strips on a page.
        title: A line at the top of each page.

    Returns:
        The pages' paths.

    Raises:
        UserError: The directory exists or cannot be written.
    """
    with atomic_directory(directory) as draft:
        for number, start in enumerate(range(0, len(strips), per_page), start=1):
            page = draw_page(strips[start : start + per_page], title=title)
            page.save(draft / f"strips-{number}.png", format="PNG")
    return sorted(Path(directory).glob("strips-*.png"), key=lambda path: (len(path.name), path.name))


def _head(strip: Strip) -> str:
    """The caption, with the score behind it where one row alone needs no line of its own."""
    return strip.caption if _row_head(strip) else f"{strip.caption}   {strip.rows[0].score}"


def _row_head(strip: Strip) -> int:
    """How much room a row's name takes."""
    return _SMALL + 5 if len(strip.rows) > 1 else 0


def _usual_width(strips: Sequence[Strip], height: int) -> int:
    """The width that suits the queries' median proportions, between half and twice the height."""
    ratio = float(np.median([strip.query.width / strip.query.height for strip in strips]))
    return round(height * min(2.0, max(0.5, ratio)))


def _widest(heads: Sequence[str], title: str) -> int:
    return round(2 * _MARGIN + max(_font(_CAPTION).getlength(text) for text in (*heads, title)))


def _paste(
    page: Image.Image, image: Image.Image, at: tuple[int, int], size: tuple[int, int], colour: str | None
) -> None:
    """An image on a mat of one size, within a border of its colour."""
    x, y = at
    box = (x, y, x + size[0] + 2 * _BORDER - 1, y + size[1] + 2 * _BORDER - 1)
    ImageDraw.Draw(page).rectangle(box, fill=colour or _INK)
    fitted = ImageOps.contain(image.convert("RGB"), size, Image.Resampling.BICUBIC)
    mat = Image.new("RGB", size, _MAT)
    mat.paste(fitted, ((size[0] - fitted.width) // 2, (size[1] - fitted.height) // 2))
    page.paste(mat, (x + _BORDER, y + _BORDER))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
