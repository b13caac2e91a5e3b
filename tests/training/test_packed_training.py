"""Training and embedding from a store give what they give from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.config import RunConfig, parse
from understudy.data.store import pack
from understudy.training.run import execute
from understudy.verbs import embed

FORM: dict[str, Any] = {"resize": (16, 16), "mode": "squash", "channels": 1, "interpolation": "bilinear"}


@pytest.fixture
def images(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    return make_images(tmp_path / "images")


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("understudy.data.dataset.decode_all", lambda *_, **__: pytest.fail("decoded"))


def test_a_run_from_a_store_writes_the_same_lines(
    images: Path,
    tmp_path: Path,
    settings: Callable[..., dict[str, Any]],
    taught: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    value = settings(
        data=str(images),
        teachers={"main": str(taught / "teacher" / "model")},
        losses=["relative_teacher"],
        augment={"flip": 0.5, "rotate": 10},
        evaluation={"every": 2},
        log_every=1,
    )
    config: RunConfig = parse(RunConfig, value, where="test")
    written = []
    for source in ("files", "store"):
        if source == "store":
            pack(images, **FORM)
            forbid_decoding(monkeypatch)
        run = execute(config, tmp_path / source)
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("images_per_second", None)
        written.append((lines, run.metrics, (run.path / "model" / "model.safetensors").read_bytes()))
    assert len(written[0][0]) == 6
    assert written[0] == written[1]


def test_embeddings_from_a_store_are_the_same(
    images: Path, tmp_path: Path, taught: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = taught / "teacher" / "model"
    from_files = embed(model, images, tmp_path / "files", device="cpu")
    pack(images, **FORM)
    forbid_decoding(monkeypatch)
    from_store = embed(model, images, tmp_path / "store", device="cpu")
    assert from_store.ids == from_files.ids
    rows = np.arange(len(from_files.ids))
    assert np.array_equal(from_store.read(rows), from_files.read(rows))
