"""Prefixes of an embedding and its projection into the teacher's space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.errors import UserError
from understudy.models import (
    Embedder,
    Projection,
    TeacherSpace,
    build_embedder,
    count_parameters,
    load,
    model_card,
    save_artefact,
)

SPACE = TeacherSpace(dim=20, teacher="large")


def small(space: TeacherSpace | None = SPACE, **settings: Any) -> Embedder:
    torch.manual_seed(0)
    return build_embedder({"backbone": "smallconv_8", "dim": 12, **settings}, space=space).eval()


def pictures(n: int = 5) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (30, 30), dtype=np.uint8) for _ in range(n)]


def unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("to_unit", [True, False])
def test_every_length_in_either_space_is_the_matrix_by_hand(normalize: bool, to_unit: bool) -> None:
    model = small(TeacherSpace(dim=20, teacher="large", normalize=to_unit), normalize=normalize)
    assert model.projection is not None
    w = model.projection.linear.weight.detach().double().numpy()
    whole = model.encode(pictures()).astype(np.float64)
    for dim in (None, 12, 7, 1):
        own = whole[:, :dim]
        own = unit(own) if normalize else own
        np.testing.assert_allclose(model.encode(pictures(), dim=dim), own, atol=1e-5)
        mapped = own @ w[:, :dim].T
        mapped = unit(mapped) if to_unit else mapped
        np.testing.assert_allclose(model.encode(pictures(), dim=dim, space="teacher"), mapped, atol=1e-5)
    x = torch.randn(2, 1, 40, 40)
    torch.testing.assert_close(
        model(x)["projected"], model.reduce(model.embed(x), space="teacher"), rtol=1e-5, atol=1e-6
    )


def test_half_precision_is_projected_to_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        projected = small()(torch.randn(3, 1, 40, 40))["projected"]
    assert projected.dtype == torch.float32
    torch.testing.assert_close(projected.norm(dim=1), torch.ones(3))


def test_the_matrix_starts_orthogonal_and_as_the_identity_between_equal_dimensions() -> None:
    torch.testing.assert_close(Projection(6, 6, normalize=False)(torch.eye(6)), torch.eye(6))
    weight = Projection(6, 9, normalize=False).linear.weight
    torch.testing.assert_close(weight.T @ weight, torch.eye(6), atol=1e-5, rtol=0)
    short = Projection(6, 9, normalize=True).linear.weight
    torch.testing.assert_close(short.T @ short, 0.01 * torch.eye(6), atol=1e-6, rtol=0)


def test_an_artefact_keeps_space_and_prefixes(tmp_path: Path) -> None:
    model = small(prefixes=(8, 4, 12), prefix_weights=(1.0, 2.0, 3.0))
    assert model.prefixes == (4, 8)
    loaded = load(save_artefact(model, tmp_path / "model"))
    assert (loaded.space, loaded.prefixes, loaded.config.prefix_weights) == (SPACE, (4, 8), None)
    for dim, space in ((None, "teacher"), (4, "teacher"), (8, "own")):
        np.testing.assert_array_equal(
            loaded.encode(pictures(), dim=dim, space=space),  # type: ignore[arg-type]
            model.encode(pictures(), dim=dim, space=space),  # type: ignore[arg-type]
        )
    assert count_parameters(model) == count_parameters(small(None)) + 12 * 20
    card = (tmp_path / "model" / "README.md").read_text()
    assert "| prefixes | the first 4, 8 numbers rank by themselves: `encode(…, dim=…)` |" in card
    assert '| teacher\'s space | 20 numbers, those of `large`: `encode(…, space="teacher")` |' in card
    assert "teacher" not in model_card(small(None))


def test_an_artefact_whose_space_is_wrong_says_so(tmp_path: Path) -> None:
    place = save_artefact(small(), tmp_path / "model")
    config = json.loads((place / "config.json").read_text())
    for space, sentence in (
        ({"dim": 20}, r"config.json': space.*'teacher' is missing"),
        ({**config["space"], "dims": 20}, r"unknown key 'space.dims': did you mean 'dim'"),
        ({**config["space"], "dim": 21}, r"does not fit its config.json.*projection"),
    ):
        (place / "config.json").write_text(json.dumps({**config, "space": space}))
        with pytest.raises(UserError, match=sentence):
            load(place)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prefixes": (4, 16)}, "a prefix of 16 numbers is longer than the embedding of 12: shorten"),
        ({"prefixes": (4, 4)}, r"prefixes \[4, 4\] name a length twice: give each once"),
        ({"prefixes": (0,)}, "does not fit"),
        ({"prefixes": (4, 8), "prefix_weights": (1.0,)}, "2 prefixes and 1 prefix_weights: give one weight"),
        ({"prefixes": (4,), "prefix_weights": (0.0,)}, "all prefix_weights are 0"),
        ({"prefixes": (4,), "prefix_weights": (-1.0,)}, "does not fit"),
    ],
)
def test_wrong_prefixes_are_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        small(**settings)
    assert "\n" not in str(caught.value)


def test_what_a_model_has_not_cannot_be_asked_for() -> None:
    with pytest.raises(UserError, match="dim = 13: this model's embeddings have 12 numbers, give 1 to 12"):
        small().encode([], dim=13, space="teacher")
    with pytest.raises(
        UserError, match="no projection into its teacher's space: distil it with --compatible"
    ):
        small(None).encode(pictures(), space="teacher")
    with pytest.raises(UserError, match="no space named 'teachr': did you mean 'teacher'"):
        small().encode(pictures(), space="teachr")  # type: ignore[arg-type]
    assert small().encode([], dim=4, space="teacher").shape == (0, 20)
