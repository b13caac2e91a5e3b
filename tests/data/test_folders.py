"""Folders of images as data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.data.folders import manifest_from_folder
from understudy.errors import UserError


def plant(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def table(folder: Path) -> list[tuple[str, str, str]]:
    manifest = manifest_from_folder(folder)
    assert manifest.root == folder
    return list(zip(manifest.paths, manifest.labels, manifest.splits, strict=True))


def test_folders_of_splits_and_classes(tmp_path: Path) -> None:
    plant(
        tmp_path, "train/owl/1.png", "train/ant/1.png", "valid/owl/2.jpg", "Test/bee/1.png", "query/bee/2.png"
    )
    plant(tmp_path, "gallery/x/bee/3.png", "train/loose.png", "README.md")
    assert table(tmp_path) == [
        ("Test/bee/1.png", "bee", "test"),
        ("gallery/x/bee/3.png", "x/bee", "gallery"),
        ("query/bee/2.png", "bee", "query"),
        ("train/ant/1.png", "ant", "train"),
        ("train/loose.png", "", "train"),
        ("train/owl/1.png", "owl", "train"),
        ("valid/owl/2.jpg", "owl", "val"),
    ]


def test_folders_of_classes(tmp_path: Path) -> None:
    plant(tmp_path, "owl/1.png", "birds/ant/1.png", "loose.png")
    assert table(tmp_path) == [
        ("birds/ant/1.png", "birds/ant", "train"),
        ("loose.png", "", "train"),
        ("owl/1.png", "owl", "train"),
    ]


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    plant(tmp_path, "b.png", "a.png", "train.png")
    assert table(tmp_path) == [("a.png", "", "train"), ("b.png", "", "train"), ("train.png", "", "train")]


def test_images_beside_split_folders_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, "train/owl/1.png", "owl/1.png")
    with pytest.raises(
        UserError, match=r"named after a split \('train/owl/1.png'\) and beside it \('owl/1.png'\): move"
    ):
        manifest_from_folder(tmp_path)


def test_empty_and_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images: put some into it or pass another folder"):
        manifest_from_folder(plant(tmp_path, "notes.txt", "sub/x.csv"))
    with pytest.raises(UserError, match="does not exist"):
        manifest_from_folder(tmp_path / "none")
