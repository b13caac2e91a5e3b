"""``understudy evaluate`` by every protocol: what it chooses, what it measures, what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import understudy
from understudy.data import Manifest, open_dataset
from understudy.data.protocol import Protocol, write_protocol, write_split
from understudy.data.table import Table, write_table
from understudy.evaluation import (
    Describing,
    embed_pixels,
    fit_pca,
    metric_learning,
    multi_queries,
    query_gallery,
    reidentification,
    revisited,
    single_gallery_shot,
)
from understudy.models import build_embedder, save_artefact

Command = Callable[..., Any]

#   of each class: which split its six images are in, and which camera saw them
SPLITS = ("query", "gallery", "gallery", "gallery", "multi_query", "train")
CAMERAS = ("a", "b", "a", "c", "a", "b")


def names(taught: Path) -> list[str]:
    images = taught / "images"
    return [path.relative_to(images).as_posix() for path in sorted(images.rglob("*.png"))]


@pytest.fixture
def model(taught: Path) -> Path:
    return taught / "teacher" / "model"


@pytest.fixture
def data(taught: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a manifest of the shared images."""

    def write(*, cameras: bool = True, splits: tuple[str, ...] = SPLITS, pairs: bool = False) -> Path:
        ids = names(taught)
        manifest = Manifest.of_paths(
            taught / "images",
            ids,
            labels=[name.partition("/")[0] for name in ids],
            splits=list(splits) * 8,
            cameras=list(CAMERAS) * 8 if cameras else None,
        )
        where = tmp_path / "data.csv"
        manifest.save(where)
        if pairs:
            words = ("easy", "hard", "junk")
            listed = [(n, n + 1 + k, words[(n // 6 + k) % 3]) for n in range(0, 48, 6) for k in range(3)]
            write_protocol(Protocol.of([(ids[q], ids[g], word) for q, g, word in listed]), where)
        return where

    return write


@pytest.fixture
def table(taught: Path, tmp_path: Path) -> Path:
    """Noisy vectors of all images, as they are named in `data`."""
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(8, 12, generator=generator).repeat_interleave(6, 0)
    write_table(
        tmp_path / "table",
        vectors + 1.2 * torch.randn(48, 12, generator=generator),
        names(taught),
        metadata={"teacher": "noise"},
    )
    return tmp_path / "table"


def measured(command: Command, *words: object) -> dict[str, Any]:
    done = command("evaluate", *words, "--json")
    assert done.status == 0, done.err
    report: dict[str, Any] = json.loads(done.out)
    return report


@pytest.mark.parametrize(
    ("changes", "words", "protocol"),
    [
        ({}, (), "reid"),
        ({"cameras": False}, (), "query_gallery"),
        ({"pairs": True}, (), "revisited"),
        ({"splits": ("train", "train", "test", "test", "test", "")}, (), "metric_learning"),
        ({}, ("--split", "gallery"), "metric_learning"),
        ({}, ("--protocol", "query_gallery"), "query_gallery"),
    ],
)
def test_the_protocol_is_what_the_data_is_made_for(
    command: Command,
    data: Callable[..., Path],
    table: Path,
    changes: dict[str, Any],
    words: tuple[str, ...],
    protocol: str,
) -> None:
    report = measured(command, table, data(**changes), *words)
    assert report["protocol"] == protocol
    assert report["counts"]["queries"] == (24 if protocol == "metric_learning" else 8)
    assert set(report["intervals"]) == set(report["metrics"])


@pytest.mark.parametrize("protocol", ["reid", "reid_multi", "single_shot", "query_gallery", "revisited"])
def test_the_figures_are_those_of_the_protocol(
    command: Command, data: Callable[..., Path], table: Path, protocol: str
) -> None:
    where = data(pairs=True)
    x = Table.open(table).read(range(48))
    rows = {split: [n for n in range(48) if SPLITS[n % 6] == split] for split in SPLITS}
    labels = np.arange(48) // 6
    cameras = np.array([ord(camera) for camera in CAMERAS] * 8)
    query, gallery, shots = rows["query"], rows["gallery"], rows["multi_query"]
    sides = (labels[query], labels[gallery], cameras[query], cameras[gallery])
    report = measured(command, table, where, "--protocol", protocol, "--ks", "1,3", "--draws", 5)
    if protocol == "reid":
        want = reidentification(x[query], x[gallery], *sides, ks=(1, 3))
    elif protocol == "reid_multi":
        many = multi_queries(labels[query], cameras[query], x[shots], labels[shots], cameras[shots])
        want = reidentification(
            many.vectors, x[gallery], many.labels, sides[1], many.cameras, sides[3], ks=(1, 3)
        )
    elif protocol == "single_shot":
        want = single_gallery_shot(x[query], x[gallery], *sides, ks=(1, 3), draws=5)
    elif protocol == "query_gallery":
        want = query_gallery(x[query], x[gallery], *sides[:2], ks=(1, 3))
    else:
        pairs = [(n // 6, 3 * (n // 6) + k, 1 + (n // 6 + k) % 3) for n in range(0, 48, 6) for k in range(3)]
        want = revisited(x[query], x[gallery], *np.array(pairs).T, ks=(1, 3))
    assert report["protocol"] == protocol
    assert report["metrics"] == pytest.approx(want.metrics, rel=1e-9)


def test_asymmetric_has_both_models_beside_it(
    command: Command, data: Callable[..., Path], table: Path, model: Path
) -> None:
    where = data()
    report = measured(command, model, where, "--gallery", table)
    assert report["protocol"] == "asymmetric reid"
    for name, alone in (("student", model), ("teacher", table)):
        assert report["beside"][name]["metrics"] == pytest.approx(measured(command, alone, where)["metrics"])
    assert report["metrics"]["map"] < report["beside"]["student"]["metrics"]["map"]  # other coordinates
    shown = command("evaluate", model, where, "--gallery", table).out.splitlines()[0]
    assert shown == f"| asymmetric reid | {model} | student | teacher |"


def test_an_index_without_the_queries_is_a_gallery_and_no_more(
    command: Command, data: Callable[..., Path], table: Path, model: Path, tmp_path: Path
) -> None:
    whole = Table.open(table)
    kept = [n for n in range(48) if SPLITS[n % 6] == "gallery"]
    write_table(
        tmp_path / "index",
        whole.read(kept),
        [whole.ids[n] for n in kept],
        metadata={"teacher": "noise"},
    )
    where = data()
    report = measured(command, model, where, "--gallery", tmp_path / "index")
    assert list(report["beside"]) == ["student"]
    assert report["metrics"] == measured(command, model, where, "--gallery", table)["metrics"]
    refused = command("evaluate", tmp_path / "index", where)
    assert refused.status == 2
    assert "8 of 32 ids are not in the embedding table" in refused.err


def test_models_are_compared_query_by_query(
    command: Command, data: Callable[..., Path], table: Path, model: Path, tmp_path: Path
) -> None:
    where = data()
    done = command(
        "evaluate", model, where, "--against", table, "--against", table, "-o", tmp_path / "r.json"
    )
    report = json.loads((tmp_path / "r.json").read_text())
    assert list(report["beside"]) == [str(table), f"{table} (2)"]
    test = report["tests"][str(table)]["map"]
    assert test["difference"] == pytest.approx(
        report["metrics"]["map"] - report["beside"][str(table)]["metrics"]["map"]
    )
    assert test["difference"] > 0
    assert 0 < test["p_value"] <= 1 / 8
    assert f"| against {table} | difference | p |" in done.out.splitlines()
    itself = measured(command, table, where, "--against", table)
    assert {test["p_value"] for tests in itself["tests"].values() for test in tests.values()} == {1.0}


def test_looks_and_whitening_change_the_vectors_alone(
    command: Command, data: Callable[..., Path], tmp_path: Path
) -> None:
    where = data(splits=("train", "train", "train", "test", "test", "test"))
    dataset = open_dataset(where)
    torch.manual_seed(0)
    student = build_embedder({"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]})
    model = save_artefact(student, tmp_path / "untrained")
    pre = student.preprocessing
    pixels = dataset.pixels(
        resize=pre.resize, mode=pre.mode, channels=pre.channels, interpolation=pre.interpolation
    )
    labels = dataset.manifest.label_codes()
    train, test = dataset.manifest.rows("train"), dataset.manifest.rows("test")
    looked = embed_pixels(student, pixels, describing=Describing(flip=True, scales=(1.0, 0.5)))
    want = metric_learning(looked[test], labels[test])
    report = measured(command, model, where, "--flip", "--scales", "1,0.5")
    assert report["metrics"] == pytest.approx(want.metrics)
    assert report["settings"]["flip"] is True
    assert report["metrics"] != measured(command, model, where)["metrics"]

    plain = embed_pixels(student, pixels)
    whitened = fit_pca(plain[train]).apply(plain[test], 5)
    report = measured(command, model, where, "--whiten", "pca", "--whiten-dim", 5)
    assert report["metrics"] == pytest.approx(metric_learning(whitened, labels[test]).metrics)
    assert report["settings"]["whiten"] == {"kind": "pca", "split": "train", "dim": 5, "images": 24}
    learned = measured(command, model, where, "--whiten", "learned")
    assert learned["metrics"] != report["metrics"]
    refused = command("evaluate", model, where, "--whiten", "pca", "--whiten-split", "test")
    assert refused.status == 2
    assert "24 of the images to measure are in the split 'test', which the whitening is to be" in refused.err


def test_a_report_says_how_to_get_it_again(
    command: Command, data: Callable[..., Path], model: Path, table: Path
) -> None:
    where = data()
    words = (model, where, "--teacher", table, "--seed", 3)
    reports = [measured(command, *words) for _ in range(2)]
    for report in reports:
        del report["seconds"]
    assert reports[0] == reports[1]
    facts = reports[0]["provenance"]
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    assert facts["models"]["query"] == {"model": str(model), "sha256": weights}
    assert facts["models"]["teacher"]["table"] == str(table)
    assert facts["understudy"] == understudy.__version__
    assert (facts["data"]["name"], facts["data"]["queries"], facts["data"]["gallery"]) == ("data", 8, 24)
    assert (facts["torch"], facts["device"]) == (torch.__version__, "cpu")
    settings = reports[0]["settings"]
    assert (settings["seed"], settings["metric"], settings["ks"]) == (3, "cosine", [1, 5, 10])
    other = data(cameras=False)
    assert measured(command, model, other)["provenance"]["data"]["sha256"] != facts["data"]["sha256"]


def test_more_figures_where_they_are_asked_for(
    command: Command, data: Callable[..., Path], table: Path
) -> None:
    where = data(splits=("", "", "test", "test", "test", "test"))
    report = measured(command, table, where, "--full", "--map-ks", "5,20", "--clustering", "--confidence", 0)
    assert {"map", "minp", "map@5", "map@20", "nmi", "ami", "f1", "map@r"} <= set(report["metrics"])
    assert "intervals" not in report
    quick = measured(command, table, where)["metrics"]
    assert {name: report["metrics"][name] for name in quick} == pytest.approx(quick)


def test_another_split_by_name(
    command: Command, data: Callable[..., Path], table: Path, taught: Path
) -> None:
    where = data()
    write_split(dict(zip(names(taught), ["gallery", "query", *[""] * 4] * 8, strict=True)), where, "other")
    counts = measured(command, table, where, "--splits-name", "other")["counts"]
    assert (counts["queries"], counts["gallery"]) == (8, 8)
    refused = command("evaluate", table, where, "--splits-name", "othr")
    assert "did you mean 'other'?" in refused.err


@pytest.mark.parametrize("protocol", ["reid_multi", "revisited"])
def test_strips_show_what_was_found(
    command: Command, data: Callable[..., Path], table: Path, model: Path, tmp_path: Path, protocol: str
) -> None:
    where = data(pairs=protocol == "revisited")
    words = (table, where, "--against", model, "--protocol", protocol, "--strips", 2)
    done = command("evaluate", *words, "--strips-out", tmp_path / "pages", "--strips-choose", "different")
    assert done.status == 0, done.err
    with Image.open(tmp_path / "pages" / "strips-1.png") as page:
        colours = {colour for _, colour in page.getcolors(2**24) or []}
    assert {(42, 157, 74), (210, 60, 60)} <= colours
    again = command("evaluate", *words, "--strips-out", tmp_path / "pages")
    assert again.status == 2
    assert "exists already: pass another place for the strips" in again.err


@pytest.mark.parametrize(
    ("changes", "words", "sentence"),
    [
        ({}, ("--protocol", "reed"), "there is no protocol named 'reed': did you mean 'reid'?"),
        ({"cameras": False}, ("--protocol", "reid"), "'data' has no cameras, which the protocol reid needs"),
        ({}, ("--protocol", "revisited"), "'data' has no ground truth of pairs"),
        (
            {"splits": ("query", "gallery", "", "", "", "")},
            ("--protocol", "reid_multi"),
            "has no images in the split 'multi_query', which the protocol reid_multi averages",
        ),
        ({"splits": ("test",) * 6}, ("--protocol", "reid"), "'data' has no images in the split 'query'"),
        ({}, ("--protocol", "reid", "--split", "gallery"), "leave --split out"),
        ({}, ("--ks", "1,x"), "--ks '1,x' are not whole numbers: write for example 1,5,10"),
        ({}, ("--ks", "0"), "cut-offs are whole numbers from 1, got [0]"),
        ({}, ("--map-ks", "-3"), "cut-offs of mAP@K are whole numbers from 1, got [-3]"),
        ({}, ("--scales", "1,0"), "scales are numbers above 0"),
        ({}, ("--scales", "1,half"), "--scales '1,half' are not numbers"),
        ({}, ("--metric", "cosin"), "did you mean 'cosine'?"),
        ({}, ("--confidence", "2"), "confidence lies between 0 and 1"),
        ({}, ("--whiten", "pcaa"), "there is no whitening named 'pcaa': did you mean 'pca'?"),
        (
            {},
            ("--whiten", "pca", "--whiten-split", "val"),
            "no images in the split 'val': pass another --whiten",
        ),
        ({}, ("--clustering",), "clustering figures belong to the protocol metric_learning and this is reid"),
        ({}, ("--protocol", "single_shot", "--teacher", "{table}"), "not measured over drawn galleries"),
        ({}, ("--flip",), "is a table: its vectors are made, flip and scales need a model"),
        (
            {},
            ("--gallery", "{model8}"),
            "the queries have 12 dimensions and the gallery 8: train the model of",
        ),
        ({}, ("--against", "no/model"), "there is no model directory 'no/model'"),
        ({}, ("--strips", "2", "--strips-choose", "different"), "need two models"),
        ({}, ("--strips", "2", "--strips-choose", "wurst"), "did you mean 'worst'?"),
        ({}, ("--splits-name", "x"), "has no split named 'x'"),
    ],
)
def test_mistakes_are_one_sentence(
    command: Command,
    data: Callable[..., Path],
    table: Path,
    changes: dict[str, Any],
    words: tuple[str, ...],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    where = data(**changes)
    before = sorted(tmp_path.iterdir())
    small = "timm:smallconv_8?weights=random&dim=8"
    done = command("evaluate", table, where, *(word.format(table=table, model8=small) for word in words))
    assert done.status == 2
    assert done.out == ""
    assert sentence in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
