"""Runs measured by a data set's own queries and gallery, and validated across cameras."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from understudy.config import DataConfig, RunConfig, parse
from understudy.data import Augmentation, Manifest, read_manifest
from understudy.errors import UserError
from understudy.models import build_embedder, save_artefact
from understudy.models.embedder import Embedder
from understudy.training.assemble import assemble
from understudy.training.directory.results import Run
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.workshop import Workshop
from understudy.verbs import embed

STUDENT = {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]}


def write_crowd(place: Path, *, test_noise: int = 0) -> Path:
    """``crowd.csv``: 8 identities to train on, 3 others as queries, in a gallery and as multi-queries."""
    rows = [("train", f"p{n}", camera, shot) for n in range(8) for camera in (1, 2) for shot in (0, 1)]
    rows += [("query", f"q{n}", camera, 0) for n in range(3) for camera in (1, 2)]
    rows += [("gallery", f"q{n}", camera, shot) for n in range(3) for camera in (1, 2, 3) for shot in (1, 2)]
    rows += [("gallery", "0000", 2, shot) for shot in range(4)]
    rows += [("multi_query", f"q{n}", camera, shot) for n in range(3) for camera in (1, 2) for shot in (3, 4)]
    generator = np.random.default_rng(7)
    place.mkdir()
    names = []
    for split, identity, camera, shot in rows:
        base = np.random.default_rng([ord(letter) for letter in identity]).integers(0, 256, (4, 4))
        grey = np.kron(base, np.ones((4, 4))) + 12 * camera + generator.normal(0, 25, (16, 16))
        if split != "train":
            grey = grey + np.random.default_rng(shot).normal(0, test_noise, (16, 16))
        names.append(f"{split}-{identity}-{camera}-{shot}.png")
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(place / names[-1])
    manifest = Manifest.of_paths(
        place,
        names,
        labels=[row[1] for row in rows],
        splits=[row[0] for row in rows],
        cameras=[str(row[2]) for row in rows],
    )
    manifest.save(place / "crowd.csv")
    return place / "crowd.csv"


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crowd(tmp_path_factory.mktemp("crowd") / "drawn")


@pytest.fixture(scope="module")
def teacher() -> Embedder:
    torch.manual_seed(3)
    return build_embedder({**STUDENT, "backbone": "smallconv_16"}).eval()


@pytest.fixture(scope="module")
def tables(crowd: Path, teacher: Embedder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The teacher's answers about two views of the training images, and about all clean images."""
    place = tmp_path_factory.mktemp("tables")
    embed(teacher, crowd, place / "views", split="train", views=2, augmentation=Augmentation(flip=0.5))
    embed(teacher, crowd, place / "clean")
    return {"reference": f"table:{place / 'views'}", "clean": f"table:{place / 'clean'}"}


def run_on(crowd: Path, out: Path, **more: Any) -> Run:
    value = {"data": {"source": str(crowd), "val_fraction": 0.0}, "student": STUDENT, "steps": 3, **more}
    value.setdefault("sampler", {"batch_size": 8, "images_per_class": 2})
    return execute(parse(RunConfig, value, where="test"), out)


def ranked_by_hand(
    query: np.ndarray, gallery: np.ndarray, who: list[tuple[str, str]], there: list[tuple[str, str]]
) -> dict[str, float]:
    """The protocol in words: a loop over queries, in float64; who is (identity, camera)."""
    found: dict[str, list[float]] = {"cmc@1": [], "cmc@5": [], "map": [], "minp": []}
    for vector, (identity, camera) in zip(query.astype(float), who, strict=True):
        scores = gallery.astype(float) @ vector
        seen = [place for place in np.argsort(-scores, kind="stable") if there[place] != (identity, camera)]
        ranks = [rank for rank, place in enumerate(seen, 1) if there[place][0] == identity]
        if not ranks:
            continue
        found["cmc@1"].append(ranks[0] <= 1)
        found["cmc@5"].append(ranks[0] <= 5)
        found["map"].append(float(np.mean([hit / rank for hit, rank in enumerate(ranks, 1)])))
        found["minp"].append(len(ranks) / ranks[-1])
    return {name: float(np.mean(values)) for name, values in found.items()}


class Pictures:
    """What a model makes of the images of a split, and who they show."""

    def __init__(self, crowd: Path) -> None:
        self.manifest = read_manifest(crowd)

    def of(self, model: Embedder, rows: np.ndarray) -> np.ndarray:
        return model.encode([self.manifest.path(row) for row in rows])

    def who(self, rows: np.ndarray) -> list[tuple[str, str]]:
        cameras = self.manifest.cameras or ()
        return [(self.manifest.labels[row], cameras[row]) for row in rows]


def test_queries_search_the_gallery_and_the_teachers(
    crowd: Path, teacher: Embedder, tables: dict[str, str], tmp_path: Path
) -> None:
    run = run_on(crowd, tmp_path / "run", teachers={"main": tables}, losses=["fitnet"])
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["split"] == "gallery"
    assert (summary["counts"]["queries"], summary["counts"]["gallery"]) == (6, 22)
    assert "figures on the queries in the gallery" in (run.path / "model" / "README.md").read_text()
    pictures = Pictures(crowd)
    rows = [pictures.manifest.rows(split) for split in ("query", "gallery", "multi_query")]
    who, there, shown = (pictures.who(some) for some in rows)
    query, gallery, shots = (pictures.of(run.model, some) for some in rows)
    alone = ranked_by_hand(query, gallery, who, there)
    assert {name: run.metrics[name] for name in alone} == pytest.approx(alone)

    means = []
    for one in who:
        mean = shots[[place for place, pair in enumerate(shown) if pair == one]].mean(0)
        means.append(mean / np.linalg.norm(mean))
    many = ranked_by_hand(np.stack(means), gallery, who, there)
    assert {name: run.metrics[f"multi/{name}"] for name in many} == pytest.approx(many)

    theirs = pictures.of(teacher, rows[1])
    asymmetric = ranked_by_hand(query, theirs, who, there)
    assert {name: run.metrics[f"asymmetric/{name}"] for name in asymmetric} == pytest.approx(asymmetric)

    shares = []
    for ours, vector, one in zip(query, pictures.of(teacher, rows[0]), who, strict=True):
        seen = [place for place, pair in enumerate(there) if pair != one]
        lists = [
            {seen[place] for place in np.argsort(-(base[seen] @ asking))[:10]}
            for base, asking in ((gallery, ours), (theirs, vector))
        ]
        shares.append(len(lists[0] & lists[1]) / 10)
    assert run.metrics["neighbour_overlap@10"] == pytest.approx(np.mean(shares))


def test_validation_crosses_cameras(crowd: Path, tmp_path: Path) -> None:
    data = {"source": str(crowd), "val_fraction": 0.5}
    run = run_on(crowd, tmp_path / "run", data=data, evaluation={"every": 3, "split": "val"})
    pictures = Pictures(crowd)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    val = Workshop().dataset(DataConfig(**data)).manifest.rows("val")
    assert len(val) == 16
    vectors, who = pictures.of(run.model, val), pictures.who(val)
    wanted = ranked_by_hand(vectors, vectors, who, who)
    assert {name: run.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert {name: lines[-1][f"val/{name}"] for name in wanted} == pytest.approx(wanted)
    scores = vectors @ vectors.T - 9 * np.eye(len(val))
    first = [who[place][0] for place in scores.argmax(1)]
    assert run.metrics["recall@1"] == np.mean([a == b for a, (b, _) in zip(first, who, strict=True)])
    assert "map@r" in run.metrics


def test_no_test_image_is_learnt_from(crowd: Path, tables: dict[str, str], tmp_path: Path) -> None:
    other = write_crowd(tmp_path / "drawn", test_noise=120)
    value = {"teachers": {"main": {"reference": tables["reference"]}}, "losses": ["similarity_kl"]}
    runs = [run_on(data, tmp_path / f"run{number}", **value) for number, data in enumerate((crowd, other))]
    first, second = (run.model.state_dict() for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert runs[0].metrics != runs[1].metrics
    assert "neighbour_overlap@10" not in runs[0].metrics  # a table of views says nothing of clean images


def test_images_are_decoded_for_the_teacher_of_clean_ones_too(
    crowd: Path, tables: dict[str, str], tmp_path: Path
) -> None:
    large = build_embedder({**STUDENT, "input_size": [32, 32], "resize": [32, 32]})
    save_artefact(large, tmp_path / "large")
    shapes = []
    for clean in (tables["clean"], str(tmp_path / "large")):
        value = {"data": {"source": str(crowd), "val_fraction": 0.0}, "student": STUDENT, "steps": 1}
        more = {"teachers": {"main": {**tables, "clean": clean}}, "losses": ["fitnet"]}
        parts = assemble(parse(RunConfig, value | more, where="test"), Workshop(), Reporter(quiet=True))
        shapes.append(next(parts.batches(0)).items.content.shape[-2:])
    assert shapes == [(16, 16), (32, 32)]


def test_what_cannot_be_measured_is_refused_before_training(
    crowd: Path, teacher: Embedder, tables: dict[str, str], folder: Path, tmp_path: Path
) -> None:
    embed(teacher, crowd, tmp_path / "few", split="train")
    for clean, words in (
        (f"table:{tmp_path / 'few'}", "28 of 28 ids are not in the embedding table"),
        (tables["reference"], "teachers.main.clean .* holds augmented views"),
    ):
        main = {**tables, "clean": clean}
        with pytest.raises(UserError, match=words):
            run_on(crowd, tmp_path / "run", teachers={"main": main}, losses=["fitnet"])
    with pytest.raises(UserError, match="no images in the splits 'query' and 'gallery'"):
        run_on(folder, tmp_path / "run", data=str(folder), evaluation={"split": "gallery"})
    assert not (tmp_path / "run").exists()


def test_clean_vectors_of_another_teacher_are_refused(
    crowd: Path, tables: dict[str, str], tmp_path: Path
) -> None:
    """One trained on other identities knows those that a choice is made with."""
    for name, dim, words in (("other", 8, "was written by another model"), ("wide", 12, "of 12 dimensions")):
        embed(build_embedder({**STUDENT, "backbone": "smallconv_16", "dim": dim}), crowd, tmp_path / name)
        main = {**tables, "clean": f"table:{tmp_path / name}"}
        with pytest.raises(UserError, match=words):
            run_on(crowd, tmp_path / "run", teachers={"main": main}, losses=["similarity_kl"])
    other = build_embedder({**STUDENT, "backbone": "smallconv_16", "dim": 8})
    embed(other, crowd, tmp_path / "flipped", flip=True)
    main = {**tables, "clean": f"table:{tmp_path / 'flipped'}"}
    with pytest.raises(UserError, match="was written by another model"):
        run_on(crowd, tmp_path / "run", teachers={"main": main}, losses=["similarity_kl"])
    assert not (tmp_path / "run").exists()


def test_clean_vectors_may_lack_images_that_nobody_can_read(teacher: Embedder, tmp_path: Path) -> None:
    crowd = write_crowd(tmp_path / "drawn")
    embed(teacher, crowd, tmp_path / "views", split="train", views=2, augmentation=Augmentation(flip=0.5))
    (tmp_path / "drawn" / "gallery-0000-2-1.png").write_bytes(b"no image")
    embed(teacher, crowd, tmp_path / "clean", skip_unreadable=True)
    main = {"reference": f"table:{tmp_path / 'views'}", "clean": f"table:{tmp_path / 'clean'}"}
    data = {"source": str(crowd), "val_fraction": 0.0, "skip_unreadable": True}
    run = run_on(crowd, tmp_path / "run", data=data, teachers={"main": main}, losses=["similarity_kl"])
    assert 0 < run.metrics["neighbour_overlap@10"] < 1
    assert json.loads((run.path / "summary.json").read_text())["counts"]["gallery"] == 21


def test_a_run_counts_the_time_of_all_its_starts(
    crowd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of which only the checkpoint is left; in its first start each look at the clock takes 100 s."""
    clock = itertools.count(0, 100)
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: float(next(clock)))
        first = run_on(crowd, tmp_path / "run", evaluation={"split": "gallery"})
    (first.path / "summary.json").unlink()
    value = yaml.safe_load((first.path / "config.yaml").read_text())
    again = execute(parse(RunConfig, value, where="test"), first.path, resume=True)
    seconds = json.loads((again.path / "summary.json").read_text())["seconds"]
    assert 100 <= seconds < next(clock)
