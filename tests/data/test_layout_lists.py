"""List files and boxes, as the layouts of all data sets read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from understudy.data.layouts._boxes import fitted
from understudy.data.layouts._lists import find_root, images_under, number, read_list
from understudy.errors import UserError


def test_columns_are_divided_by_blanks_or_commas(tmp_path: Path) -> None:
    file = tmp_path / "images.txt"
    file.write_text("id path\r\n1 a.jpg\r\n\n 2,\tb,c.jpg \n", encoding="utf-8-sig")
    assert read_list(file, ("id", "path"), header=1) == [["1", "a.jpg"], ["2", "b,c.jpg"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1 a.jpg\n2 b.jpg x\n", r"images.txt', line 2: 3 values and not 2 \(id, path\): unpack"),
        (b"1 a.jpg\n\n1 b.jpg\n", r"images.txt', line 3: the id '1' is there already in line 1: unpack"),
        (b"1 a.jpg\n2 a.jpg\n", r"images.txt', line 2: the path 'a.jpg' is there already in line 1: unpack"),
        (b"\n", r"images.txt' lists nothing: unpack"),
        (b"1 \xff.jpg\n", r"images.txt' is not text: unpack"),
        (None, r"images.txt' is missing: unpack the official archive again"),
    ],
)
def test_broken_lists_are_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "images.txt").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_list(tmp_path / "images.txt", ("id", "path"), unique=(0, 1))


def test_numbers_are_whole() -> None:
    assert number("042", Path("x.txt"), "class") == 42
    with pytest.raises(UserError, match=r"'x.txt': '4.2' is not a whole number \(class\)"):
        number("4.2", Path("x.txt"), "class")


def test_the_archives_own_folder_is_found_inside(tmp_path: Path) -> None:
    inner = tmp_path / "CUB_200_2011"
    inner.mkdir()
    (inner / "images.txt").touch()
    assert find_root(inner, ("images.txt",), "CUB", inside=("CUB_200_2011",)) == inner
    assert find_root(tmp_path, ("images.txt",), "CUB", inside=("CUB_200_2011",)) == inner
    with pytest.raises(UserError, match=r"CUB_200_2011' has no 'images': pass the folder that the archive"):
        find_root(tmp_path, ("images.txt", "images"), "CUB", inside=("CUB_200_2011",))
    with pytest.raises(UserError, match=r"images.txt' is a file: unpack the archive of CUB and pass its"):
        find_root(inner / "images.txt", (), "CUB")
    with pytest.raises(UserError, match=r"nowhere' does not exist: check the path"):
        find_root(tmp_path / "nowhere", (), "CUB")


def test_images_are_found_by_their_endings(tmp_path: Path) -> None:
    for name in ("a.jpg", "deep/er/b.JPG", "deep/Thumbs.db", "deep/list.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert images_under(tmp_path) == {"a.jpg", "deep/er/b.JPG"}
    (tmp_path / "deep" / "up").symlink_to(tmp_path)  # a loop is walked once
    assert images_under(tmp_path) == {"a.jpg", "deep/er/b.JPG"}
    assert images_under(tmp_path / "nowhere") == set()


def test_boxes_are_rounded_outwards_and_cut_to_their_images(tmp_path: Path) -> None:
    for number_of in range(4):
        Image.new("L", (20, 10)).save(tmp_path / f"{number_of}.png")
    paths = [f"{number_of}.png" for number_of in range(4)]
    wanted = np.array([[1.5, 2.5, 3.2, 9], [0, 0, 20, 10], [-1, 3, 21, 12], [20, 0, 30, 5]], dtype=np.float64)
    calls: list[tuple[int, int]] = []
    boxes, notes = fitted(tmp_path, paths, wanted, lambda done, total: calls.append((done, total)))
    assert boxes.tolist() == [[1, 2, 4, 9], [0, 0, 20, 10], [0, 3, 20, 10], [-1, -1, -1, -1]]
    assert notes == [
        "1 boxes reached beyond their images and were cut to them",
        "1 boxes held nothing of their images, which count as a whole",
    ]
    assert calls == [(4, 4)]
    assert fitted(tmp_path, paths[:2], wanted[:2])[1] == []
    (tmp_path / "1.png").write_bytes(b"not a png")
    with pytest.raises(UserError, match=r"1.png' cannot be read as an image: unpack"):
        fitted(tmp_path, paths, wanted)
