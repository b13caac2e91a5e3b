"""Retrieval strips, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from understudy.errors import UserError
from understudy.evaluation.strips import (
    COLOURS,
    Row,
    Strip,
    choose_queries,
    draw_page,
    nearest,
    write_pages,
)

SHADES = ["#000000", "#404040", "#808080", "#c0c0c0"]


def strip(models: int = 2, size: tuple[int, int] = (20, 40)) -> Strip:
    found = [Image.new("RGB", size, shade) for shade in SHADES[1:]]
    rows = [
        Row(f"model {n}", "AP 50.0 %", [(found[0], "right"), (found[1], "wrong"), (found[2], "right")])
        for n in range(models)
    ]
    return Strip("someone", Image.new("RGB", size, SHADES[0]), rows)


def tiles(page: Image.Image, colour: str) -> list[tuple[int, int, int, int]]:
    """Left, upper, right, lower of each rectangle whose border is of a colour, row by row."""
    rgb = tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))
    pixels = page.load()
    assert pixels is not None
    found = []
    for y in range(page.height):
        for x in range(page.width):
            corner = pixels[x, y] == rgb and (x == 0 or pixels[x - 1, y] != rgb)
            if (
                corner
                and (y == 0 or pixels[x, y - 1] != rgb)
                and x + 1 < page.width
                and pixels[x + 1, y] == rgb
            ):
                right, lower = x, y
                while right + 1 < page.width and pixels[right + 1, y] == rgb:
                    right += 1
                while lower + 1 < page.height and pixels[x, lower + 1] == rgb:
                    lower += 1
                if right - x > 30:
                    found.append((x, y, right, lower))
    return found


def test_results_stand_in_order_within_borders_of_their_relation() -> None:
    page = draw_page([strip()], height=80)
    right, wrong = tiles(page, COLOURS["right"]), tiles(page, COLOURS["wrong"])
    assert (len(right), len(wrong)) == (4, 2)
    rows = sorted({box[1] for box in right})
    assert len(rows) == 2
    for top in rows:
        boxes = sorted([*right, *wrong])
        line = [box for box in boxes if box[1] == top]
        middles = [((x + r) // 2, (y + b) // 2) for x, y, r, b in line]
        assert [page.getpixel(at) for at in middles] == [(64, 64, 64), (128, 128, 128), (192, 192, 192)]
        assert {(r - x + 1, b - y + 1) for x, y, r, b in line} == {(40 + 8, 80 + 8)}
        assert page.getpixel((line[0][0] - 40, (line[0][1] + line[0][3]) // 2)) != (64, 64, 64)


def test_images_keep_their_proportions_on_a_mat() -> None:
    wide = Strip("wide", Image.new("L", (40, 40)), [Row("", "", [(Image.new("L", (40, 20)), "right")])])
    page = draw_page([wide], height=80)
    ((x, y, right, lower),) = tiles(page, COLOURS["right"])
    column = [page.getpixel(((x + right) // 2, row)) for row in range(y + 4, lower - 3)]
    assert column.count((0, 0, 0)) == 40
    assert len(column) == 80


def test_a_row_may_be_shorter_and_a_caption_longer() -> None:
    short = Strip("x" * 200, Image.new("L", (9, 9)), [Row("", "AP 1.0 %", [])])
    assert draw_page([short, strip(1)], title="t").width > 1000
    assert draw_page([short]).height < draw_page([short, strip(1)]).height


def test_what_is_hidden_is_not_shown_and_what_is_right_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(count, 4, generator=generator) for count in (3, 9))
    relation = torch.randint(-1, 2, (3, 9), generator=generator, dtype=torch.int8)
    relation[2] = torch.tensor([-1, -1, -1, 0, 1, -1, -1, -1, -1])
    rows, right = nearest(query, gallery, relation, 4)
    scores = torch.nn.functional.normalize(query, dim=1) @ torch.nn.functional.normalize(gallery, dim=1).T
    for i in range(3):
        seen = sorted((j for j in range(9) if relation[i, j] >= 0), key=lambda j: -float(scores[i, j]))[:4]
        assert rows[i].tolist() == seen + [-1] * (4 - len(seen))
        assert right[i].tolist() == [bool(relation[i, j] == 1) for j in seen] + [False] * (4 - len(seen))


def test_queries_are_chosen_by_seed_by_fault_or_by_difference() -> None:
    nan = float("nan")
    ours, theirs = torch.tensor([0.5, nan, 0.1, 0.9, 0.4]), torch.tensor([0.5, 0.2, 0.6, nan, 0.3])
    assert choose_queries([ours], 2, "worst") == [2, 4]
    assert choose_queries([ours, theirs], 9, "different") == [2, 4, 0]
    assert choose_queries([ours], 9) == [0, 2, 3, 4]
    many = torch.rand(100, generator=torch.Generator().manual_seed(0))
    picks = [choose_queries([many], 5, "random", seed=seed) for seed in (1, 1, 2)]
    assert picks[0] == picks[1] != picks[2]
    with pytest.raises(UserError, match="did you mean 'random'"):
        choose_queries([ours], 1, "randm")
    with pytest.raises(UserError, match="need two models"):
        choose_queries([ours], 1, "different")


def test_pages_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    pages = write_pages([strip(1)] * 5, tmp_path / "pages", per_page=2)
    assert [page.name for page in pages] == ["strips-1.png", "strips-2.png", "strips-3.png"]
    heights = [Image.open(page).height for page in pages]
    assert heights[0] == heights[1] > heights[2]
    with pytest.raises(UserError, match="exists already"):
        write_pages([strip(1)], tmp_path / "pages")
    with pytest.raises(ZeroDivisionError):
        write_pages([strip(1), Strip("", Image.new("L", (0, 0)), [Row("", "", [])])], tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages"]
