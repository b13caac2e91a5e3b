"""Omniglot's layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.data.layouts.omniglot import PUBLISHED, read, recognises
from understudy.errors import UserError

EXPECTED = {
    "characters in images_background": 3,
    "drawings in images_background": 60,
    "characters in images_evaluation": 2,
    "drawings in images_evaluation": 40,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    number = 0
    for part, characters in (
        ("images_background", ("Greek/character01", "Greek/character02", "Latin/character01")),
        ("images_evaluation", ("Tengwar/character01", "Tengwar/character02")),
    ):
        for character in characters:
            number += 1
            folder = tmp_path / part / character
            folder.mkdir(parents=True)
            for drawer in range(1, 21):
                (folder / f"{number:04}_{drawer:02}.png").touch()
    return tmp_path


def test_the_published_counts() -> None:
    assert list(PUBLISHED.values()) == [964, 19_280, 659, 13_180]
    assert 964 * 20 == 19_280
    assert 659 * 20 == 13_180


def test_class_camera_and_split_come_from_the_path(tree: Path) -> None:
    assert recognises(tree)
    prepared = read(tree, expected=EXPECTED)
    manifest = prepared.manifest
    assert prepared.notes == []
    assert len(manifest) == 100
    assert manifest.classes == (
        "Greek/character01",
        "Greek/character02",
        "Latin/character01",
        "Tengwar/character01",
        "Tengwar/character02",
    )
    assert len(manifest.rows("train")) == 60
    assert {manifest.labels[row] for row in manifest.rows("test")} == {
        "Tengwar/character01",
        "Tengwar/character02",
    }
    assert manifest.cameras is not None
    place = manifest.paths.index("images_evaluation/Tengwar/character02/0005_07.png")
    assert manifest.cameras[place] == "07"
    assert len(set(manifest.cameras)) == 20


def test_what_is_missing_is_named(tree: Path) -> None:
    (tree / "images_background/Greek/character02/0002_03.png").unlink()
    words = (
        r"is not the whole data set: 59 of 60 drawings in images_background \(1 missing\); "
        "Greek/character02 has 19"
    )
    with pytest.raises(UserError, match=f"{words}: unpack the official archive again, or pass --partial"):
        read(tree, expected=EXPECTED)
    prepared = read(tree, partial=True, expected=EXPECTED)
    assert len(prepared.manifest) == 99
    assert prepared.notes[0].endswith("drawings in images_background (1 missing); Greek/character02 has 19")


def test_missing_characters_and_parts_are_named(tree: Path) -> None:
    for path in sorted((tree / "images_evaluation/Tengwar/character02").iterdir()):
        path.unlink()
    words = r"1 of 2 characters in images_evaluation \(1 missing\); 20 of 40 drawings in images_evaluation"
    with pytest.raises(UserError, match=words):
        read(tree, expected=EXPECTED)
    (tree / "images_evaluation").rename(tree / "evaluation")
    with pytest.raises(UserError, match="has no folder 'images_evaluation': pass the folder that holds"):
        read(tree, expected=EXPECTED)


def test_a_name_without_its_drawer_is_named(tree: Path) -> None:
    path = tree / "images_background/Greek/character02/0002_03.png"
    path.rename(path.with_name("third.png"))
    with pytest.raises(UserError, match=r"third.png' does not end in _NN"):
        read(tree, expected=EXPECTED)
