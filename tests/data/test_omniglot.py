"""Omniglot's layout, on small trees made in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.data import omniglot
from understudy.data.omniglot import is_omniglot, manifest_from_omniglot
from understudy.errors import UserError


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        omniglot, "_PARTS", {"images_background": ("train", 3), "images_evaluation": ("test", 2)}
    )
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
    assert omniglot._PARTS == {"images_background": ("train", 964), "images_evaluation": ("test", 659)}
    assert [count * omniglot._DRAWERS for _, count in omniglot._PARTS.values()] == [19_280, 13_180]


def test_class_camera_and_split_come_from_the_path(tree: Path) -> None:
    assert is_omniglot(tree)
    manifest = manifest_from_omniglot(tree)
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
        r"holds 3 characters and 59 drawings \(Greek/character02 has 19\) where Omniglot has 3 and 60: unpack"
    )
    with pytest.raises(UserError, match=f"images_background' {words}"):
        manifest_from_omniglot(tree)


def test_missing_characters_and_parts_are_named(tree: Path) -> None:
    for path in sorted((tree / "images_evaluation/Tengwar/character02").iterdir()):
        path.unlink()
    with pytest.raises(UserError, match="images_evaluation' holds 1 characters and 20 drawings where"):
        manifest_from_omniglot(tree)
    (tree / "images_evaluation").rename(tree / "evaluation")
    with pytest.raises(UserError, match="has no folder 'images_evaluation': pass the folder that holds"):
        manifest_from_omniglot(tree)


def test_a_name_without_its_drawer_is_named(tree: Path) -> None:
    path = tree / "images_background/Greek/character02/0002_03.png"
    path.rename(path.with_name("third.png"))
    with pytest.raises(UserError, match=r"third.png' does not end in _NN"):
        manifest_from_omniglot(tree)
