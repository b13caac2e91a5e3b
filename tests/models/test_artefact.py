from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import understudy._version
from understudy.errors import UserError
from understudy.models import Embedder, build_embedder, load, save_artefact

SETTINGS: dict[str, Any] = {
    "backbone": "smallconv_8",
    "dim": 12,
    "pooling": "gem",
    "neck": "bn",
    "normalize": False,
    "freeze_bn": True,
    "input_size": (32, 24),
    "resize": (40, 30),
    "mode": "shorter",
    "interpolation": "lanczos",
    "channels": 3,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.4, 0.5, 0.6),
}


@pytest.fixture
def model() -> Embedder:
    torch.manual_seed(0)
    return build_embedder(SETTINGS, classes=["é", "b", "c"])


@pytest.fixture
def saved(model: Embedder, tmp_path: Path) -> Path:
    return save_artefact(model, tmp_path / "model", metrics={"recall@1": 0.5})


def edit(directory: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = directory / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (50, 40, 3), dtype=np.uint8) for _ in range(3)]


def test_what_is_loaded_is_what_was_saved(model: Embedder, saved: Path) -> None:
    loaded = load(saved)
    assert not loaded.training
    assert loaded.preprocessing == model.preprocessing
    assert loaded.classes == ("é", "b", "c")
    for name in ("backbone", "dim", "pooling", "neck", "normalize", "freeze_bn"):
        assert getattr(loaded.config, name) == getattr(model.config, name)
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.state_dict().items())
    assert {"classifier.weight", "classifier.bias"} <= set(load_file(saved / "model.safetensors"))
    np.testing.assert_array_equal(loaded.encode(images()), model.encode(images()))


def test_saving_what_was_loaded_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    again = save_artefact(load(saved), tmp_path / "again", metrics={"recall@1": 0.5})
    for file in saved.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_configuration_is_complete_and_names_no_file(tmp_path: Path) -> None:
    weights = tmp_path / "start.pth"
    torch.save(build_embedder("smallconv_8").backbone.state_dict(), weights)
    model = build_embedder({"backbone": "smallconv_8", "weights": str(weights)})
    config_text = (save_artefact(model, tmp_path / "model") / "config.json").read_text()
    assert "start" not in config_text
    assert json.loads(config_text) == {
        "format": 1,
        "understudy": understudy._version.__version__,
        "model": {
            "backbone": "smallconv_8",
            "dim": None,
            "pooling": "avg",
            "output_stride": None,
            "neck": None,
            "normalize": True,
            "prefixes": [],
            "freeze_bn": False,
        },
        "preprocessing": {
            "size": [40, 40],
            "resize": [40, 40],
            "mode": "squash",
            "channels": 1,
            "interpolation": "bilinear",
            "mean": [0.5],
            "std": [0.5],
        },
        "classes": None,
        "dtype": "float32",
    }


def test_metrics_and_card_are_beside_it(model: Embedder, saved: Path, tmp_path: Path) -> None:
    assert json.loads((saved / "metrics.json").read_text()) == {"recall@1": 0.5}
    card = (saved / "README.md").read_text()
    assert "| recall@1 | 0.5000 |" in card
    assert "| embedding | vectors of 12 numbers |" in card
    assert "| input | RGB, 32 × 24 pixels (height × width) |" in card
    assert "| classifier | 3 classes; not used by `encode` |" in card
    other = save_artefact(model, tmp_path / "other", card="# Mine\n")
    assert (other / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_halves_the_file_and_loads_as_float32(tmp_path: Path, dtype: Any) -> None:
    model = build_embedder({"backbone": "smallconv_32", "dim": 64})
    full = save_artefact(model, tmp_path / "full") / "model.safetensors"
    half = save_artefact(model, tmp_path / "half", dtype=dtype) / "model.safetensors"
    assert half.stat().st_size < 0.55 * full.stat().st_size
    loaded = load(tmp_path / "half")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    for name, tensor in loaded.state_dict().items():
        expected = model.state_dict()[name]
        if expected.is_floating_point():
            expected = expected.to(getattr(torch, dtype)).float()
        assert torch.equal(tensor, expected)
    assert next(model.parameters()).dtype == torch.float32


def test_double_precision_is_kept(tmp_path: Path) -> None:
    model = build_embedder("smallconv_8").double()
    loaded = load(save_artefact(model, tmp_path / "model"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))
    assert next(loaded.parameters()).dtype == torch.float64


def test_a_timm_model_comes_back_without_any_download(tmp_path: Path) -> None:
    model = build_embedder({"backbone": "test_convnext", "input_size": (64, 64), "dim": 8}).eval()
    loaded = load(save_artefact(model, tmp_path / "model"))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x)["embedding"], model(x)["embedding"])


def test_an_existing_directory_is_kept_unless_told_otherwise(model: Embedder, saved: Path) -> None:
    before = (saved / "config.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save_artefact(build_embedder("smallconv_16"), saved)
    assert (saved / "config.json").read_bytes() == before
    save_artefact(build_embedder("smallconv_16"), saved, overwrite=True)
    assert load(saved).config.backbone == "smallconv_16"
    assert [entry.name for entry in saved.parent.iterdir()] == ["model"]


def test_a_full_disk_leaves_nothing_behind(
    model: Embedder, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with pytest.raises(UserError, match="no space left"), full_disk(4096):
        save_artefact(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_saved_model_says_what_is_missing(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no model directory '.*nowhere': check the path"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"config.json' is a file: pass the directory that holds config.json"):
        load(saved / "config.json")
    (saved / "model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(
        UserError, match=r"has no model.safetensors: it is no saved model, or only part of one"
    ):
        load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config.json"):
        load(saved)


def test_another_format_says_who_wrote_it(saved: Path) -> None:
    edit(saved, lambda c: c.update(format=2, understudy="9.1", novelty=True))
    with pytest.raises(
        UserError,
        match=r"is of format 2, written by understudy 9\.1; this is understudy .*, which reads format 1",
    ):
        load(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(pooling="avg"), "has an unknown key 'pooling'"),
        (
            lambda c: c["model"].update(poling="avg"),
            r"has an unknown key 'model.poling': did you mean 'pooling'\?",
        ),
        (
            lambda c: c["preprocessing"].update(means=1),
            r"unknown key 'preprocessing.means': did you mean 'mean'\?",
        ),
        (lambda c: c["preprocessing"].pop("size"), "preprocessing.'size' is missing"),
        (lambda c: c["preprocessing"].update(channels=2), "preprocessing.channels = 2 does not fit"),
        (lambda c: c["model"].update(dim="many"), "model.dim = 'many' does not fit"),
        (
            lambda c: c["model"].update(backbone="smalconv_8"),
            r"no backbone named .* did you mean 'smallconv_8'\?",
        ),
        (lambda c: c.update(model=[]), "'model' is not a table of settings"),
        (lambda c: c.update(classes="abc"), "'classes' is not a list of names"),
        (lambda c: c.pop("classes"), "has no 'classes'"),
        (lambda c: c.pop("format"), "is not the configuration of a saved model: it has no 'format'"),
    ],
)
def test_a_wrong_configuration_says_which_key(saved: Path, change: Any, said: str) -> None:
    edit(saved, change)
    with pytest.raises(UserError, match=said):
        load(saved)


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b"[1, 2]"])
def test_a_configuration_that_is_not_json_says_so(saved: Path, text: bytes) -> None:
    (saved / "config.json").write_bytes(text)
    with pytest.raises(UserError, match=r"config.json' is not (JSON|the configuration)"):
        load(saved)


def test_tensors_that_do_not_fit_are_named(saved: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["head.0.weight"] = torch.zeros(12, 99)
    del state["head.0.bias"]
    state["hat.bias"] = torch.zeros(1)
    save_file(state, saved / "model.safetensors")
    with pytest.raises(UserError) as caught:
        load(saved)
    assert "model.safetensors' does not fit its config.json: " in str(caught.value)
    assert "head.0.weight is (12, 99) in the file and (12, 16) in the network" in str(caught.value)
    assert "head.0.bias is not in the file" in str(caught.value)
    assert "hat.bias is not in the network" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_weights_say_so(saved: Path, keep: int) -> None:
    file = saved / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model.safetensors' is cut short or damaged"):
        load(saved)
