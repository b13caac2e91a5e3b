"""CUHK03 (Li, Zhao, Xiao and Wang, CVPR 2014), with the protocol of Zhong, Zheng, Cao and Li (CVPR 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from understudy.data.layouts._counts import check
from understudy.data.layouts._cuhk03_file import BOXES, extract, image_names, opened, test_sets
from understudy.data.layouts._lists import AGAIN
from understudy.data.layouts._matlab import variables
from understudy.data.layouts.prepared import Prepared
from understudy.data.manifest import Manifest
from understudy.data.protocol import divided
from understudy.errors import UserError, suggest

PUBLISHED = {
    "identities": 1_467,
    "detected images": 14_097,
    "labelled images": 14_096,
    "test sets": 20,
    "identities of the classic protocol": 1_360,
    "validation identities": 100,
    "detected train images (767/700)": 7_365,
    "detected query images (767/700)": 1_400,
    "detected gallery images (767/700)": 5_332,
    "labelled train images (767/700)": 7_368,
    "labelled query images (767/700)": 1_400,
    "labelled gallery images (767/700)": 5_328,
}

_FILE = "cuhk-03.mat"
_CONFIG = "cuhk03_new_protocol_config_{}.mat"
_CLASSIC_PAIRS = 3  # of the five; the paper's 1,360 identities and 13,164 images are theirs


def recognises(path: Path) -> bool:
    """Whether a folder holds CUHK03's file."""
    return any((path / part).is_file() for part in (_FILE, f"cuhk03_release/{_FILE}"))


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str = "detected-01",
    partial: bool = False,
    progress: Callable[[int, int], None] | None = None,
    expected: Mapping[str, int] = PUBLISHED,
) -> Prepared:
    """Reads CUHK03: detected and hand-labelled boxes, the 20 standard splits of each, and 767/700.

    The images inside the file are written as PNG files first; stopped and started again, this goes on where
    it was. Splits are named ``detected-01`` to ``detected-20``, ``labelled-01`` to ``labelled-20`` and, where
    ``cuhk03_new_protocol_config_{detected,labeled}.mat`` lie beside the file or above it, ``detected-new``
    and ``labelled-new``.

    Of a standard split, the 100 identities of the file's test set are queries in the first view and gallery
    in the second. The file has no list of the paper's 100 validation identities, so they are drawn here from
    those that are left of the first three camera pairs, by a generator seeded with the number of the split;
    the rest (1,160) trains. The two other camera pairs, which the paper did not use, are in none of them.

    Args:
        path: ``cuhk-03.mat`` or a folder that holds it, or holds it in ``cuhk03_release``.
        images: Where to put the images; default: ``images`` beside the file.
        split: Which one the manifest itself is to have.
        partial: Go on with what is there.
        progress: Called with (done, total) images.
        expected: The published counts.

    Returns:
        The manifest of both kinds of boxes; labels are ``PAIR_PERSON``, cameras 1 to 10, two a pair.

    Raises:
        UserError: The file is missing or broken, counts differ, or there is no such split.
    """
    source = _find(Path(path))
    root = Path(images) if images is not None else source.parent / "images"
    with opened(source) as file:
        names = {ours: image_names(file, theirs) for theirs, ours in BOXES.items()}
        splits, notes = _divide(source, names, test_sets(file), partial=partial, expected=expected)
        if split not in splits:
            raise UserError(f"CUHK03 has no split named {split!r} here: {suggest(split, splits)}")
        total = sum(map(len, names.values()))
        before = 0
        for ours, some in names.items():
            start = before
            told = None if progress is None else lambda done, start=start: progress(start + done, total)
            extract(file, root / ours, some, told)
            before += len(some)
    paths = [f"{ours}/{name}" for ours, some in names.items() for name in some]
    manifest = Manifest.of_paths(
        root,
        paths,
        labels=[_identity(name) for name in paths],
        cameras=[_camera(name) for name in paths],
    )
    return Prepared(divided(manifest, splits[split], where=repr(str(source))), splits=splits, notes=notes)


def _divide(
    source: Path,
    names: Mapping[str, Mapping[str, object]],
    sets: Sequence[Sequence[tuple[int, int]]],
    *,
    partial: bool,
    expected: Mapping[str, int],
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """All splits, counted, and what is to be said of them."""
    splits, notes = _classic_splits(names, sets, expected["validation identities"])
    identities = {_identity(name) for some in names.values() for name in some}
    counts = {
        "identities": len(identities),
        "detected images": len(names["detected"]),
        "labelled images": len(names["labelled"]),
        "test sets": len(sets),
        "identities of the classic protocol": len(_classic(identities)),
    }
    for theirs, ours in BOXES.items():
        config = _config(source, theirs)
        if config is None:
            notes.append(f"without {_CONFIG.format(theirs)!r} there is no split '{ours}-new' (767/700)")
            continue
        splits[f"{ours}-new"] = new = _new_split(config, ours, set(names[ours]))
        for part in ("train", "query", "gallery"):
            counts[f"{ours} {part} images (767/700)"] = list(new.values()).count(part)
    differing = check(source, {part: (n, expected[part]) for part, n in counts.items()}, partial=partial)
    return splits, differing + notes


def _find(path: Path) -> Path:
    candidates = (path, path / _FILE, path / "cuhk03_release" / _FILE)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"{str(path)!r} has no {_FILE!r}: pass the file or the folder that holds it")


def _config(source: Path, boxes: str) -> Path | None:
    """The list of the 767/700 protocol: beside the file, or above it where its archive was unpacked."""
    places = (folder / _CONFIG.format(boxes) for folder in (source.parent, source.parent.parent))
    return next((place for place in places if place.is_file()), None)


def _identity(name: str) -> str:
    return "_".join(name.rpartition("/")[2].split("_")[:2])


def _camera(name: str) -> str:
    pair, _, view, _ = name.rpartition("/")[2].split("_")
    return str(2 * (int(pair) - 1) + int(view))


def _classic(identities: set[str]) -> set[str]:
    return {name for name in identities if int(name.partition("_")[0]) <= _CLASSIC_PAIRS}


def _classic_splits(
    names: Mapping[str, Mapping[str, object]], sets: Sequence[Sequence[tuple[int, int]]], validation: int
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The standard splits of both kinds of boxes; which identities are for validation is drawn here."""
    splits: dict[str, dict[str, str]] = {}
    known = _classic({_identity(name) for some in names.values() for name in some})
    for place, pairs in enumerate(sets, start=1):
        tested = {f"{pair}_{person:03}" for pair, person in pairs}
        if len(tested) != len(pairs) or not tested <= known:
            raise UserError(
                f"test set {place} of CUHK03 names an identity twice or one that has no images: {AGAIN}"
            )
        left = sorted(known - tested)
        generator = np.random.Generator(np.random.PCG64(place))
        held = {left[number] for number in generator.permutation(len(left))[:validation]}
        for boxes, some in names.items():
            splits[f"{boxes}-{place:02}"] = {
                f"{boxes}/{name}": _part(name, tested, held) for name in some if _identity(name) in known
            }
    drawn = (
        f"the file lists no validation identities: {validation} of each standard split are drawn by a "
        "generator seeded with its number"
    )
    return splits, [drawn]


def _part(name: str, tested: set[str], held: set[str]) -> str:
    identity = _identity(name)
    if identity in tested:
        return "query" if name.split("_")[2] == "1" else "gallery"
    return "val" if identity in held else "train"


def _new_split(config: Path, boxes: str, names: set[str]) -> dict[str, str]:
    """The 767/700 protocol: rows of a list of files, counted from 1."""
    files, *rows = variables(config, ("filelist", "train_idx", "query_idx", "gallery_idx"))
    listed = [str(name) for name in files]
    split: dict[str, str] = {}
    for part, numbers in zip(("train", "query", "gallery"), rows, strict=True):
        for number in numbers.tolist():
            if not 1 <= number <= len(listed) or listed[number - 1] not in names:
                raise UserError(f"{str(config)!r}, {part}_idx: {number} is not the row of an image: {AGAIN}")
            split[f"{boxes}/{listed[number - 1]}"] = part
    return split
