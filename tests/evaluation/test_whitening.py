"""Whitening against the plain NumPy forms, written as the authors' code has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from understudy.errors import UserError
from understudy.evaluation.whitening import Whitening, fit_learned, fit_pca, matching_pairs


def points(n: int = 60, d: int = 6, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(d, d)) * np.logspace(0, -2, d)
    return generator.normal(size=(n, d)) @ mixing.T + generator.normal(size=d)


def plain_learned(x: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns are vectors, inverses are inverses, eigenvectors of a matrix that need not be symmetric."""
    x = x.T
    m = x[:, first].mean(axis=1, keepdims=True)
    difference = x[:, first] - x[:, second]
    similar = difference @ difference.T / difference.shape[1]
    p = np.linalg.inv(np.linalg.cholesky(similar))
    spread = p @ (x - m)
    values, vectors = np.linalg.eig(spread @ spread.T)
    return m[:, 0], np.real(vectors[:, values.argsort()[::-1]]).T @ p


def plain_pca(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m = x.mean(0)
    covariance = (x - m).T @ (x - m) / len(x)
    values, vectors = np.linalg.eig(covariance)
    order = values.argsort()[::-1]
    return m, np.linalg.inv(np.sqrt(np.diag(values[order]))) @ vectors[:, order].T


def plain_apply(x: np.ndarray, m: np.ndarray, p: np.ndarray, dim: int) -> np.ndarray:
    y = (x - m) @ p[:dim].T
    normalised: np.ndarray = y / np.linalg.norm(y, axis=1, keepdims=True)
    return normalised


@pytest.mark.parametrize("dim", [6, 3])
@pytest.mark.parametrize("kind", ["pca", "learned"])
def test_equals_the_plain_form_up_to_the_signs_of_eigenvectors(kind: str, dim: int) -> None:
    x, new = points(), points(9, seed=1)
    first, second = np.arange(0, 40, 2), np.arange(1, 40, 2)  # a third has no pair, and counts
    if kind == "pca":
        mean, projection = plain_pca(x)
        fitted = fit_pca(torch.from_numpy(x))
    else:
        mean, projection = plain_learned(x, first, second)
        fitted = fit_learned(torch.from_numpy(x), torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_allclose(fitted.mean, mean, rtol=1e-12)
    got = fitted.apply(torch.from_numpy(new), dim).numpy()
    want = plain_apply(new, mean, projection, dim)
    np.testing.assert_allclose(np.abs(got), np.abs(want), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(got @ got.T, want @ want.T, rtol=1e-7, atol=1e-9)  # signs have no say in it


def test_pca_leaves_unit_variance_and_no_correlation() -> None:
    x = torch.from_numpy(points())
    fitted = fit_pca(x)
    y = (x - fitted.mean) @ fitted.projection.T
    torch.testing.assert_close(y.T @ y / len(y), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-9)


def test_learned_whitening_brings_matching_pairs_together() -> None:
    """Noise along one axis drowns the class; the pairs teach that the axis does not count."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20).repeat_interleave(4)
    x = torch.randn(20, 3, generator=generator)[labels] + 0.05 * torch.randn(80, 3, generator=generator)
    x[:, 0] += 8 * torch.randn(80, generator=generator)
    learned = fit_learned(x, *matching_pairs(labels)).apply(x, dim=2)
    nearest = {
        name: (y @ y.T).fill_diagonal_(-2).argmax(1)
        for name, y in (("before", torch.nn.functional.normalize(x, dim=1)), ("after", learned))
    }
    share = {name: float((labels[found] == labels).float().mean()) for name, found in nearest.items()}
    assert share["after"] > share["before"] + 0.4


def test_directions_without_variance_are_left_out_or_steadied() -> None:
    x = points()
    flat = torch.from_numpy(np.concatenate([x, x[:, :2] @ np.ones((2, 2))], 1))
    assert fit_pca(flat).dim == 6
    learned = fit_learned(flat, torch.arange(0, 60, 2), torch.arange(1, 60, 2))
    assert torch.isfinite(learned.projection).all()


def test_pairs_stay_within_their_class() -> None:
    labels = torch.tensor([3, 1, -1, 3, 9, 1, 3, -1])
    first, second = matching_pairs(labels)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [
        (0, 3),
        (1, 5),
        (3, 6),
        (5, 1),
        (6, 0),
    ]
    assert [len(part) for part in matching_pairs(torch.tensor([-1, 4]))] == [0, 0]


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    fitted = fit_pca(torch.from_numpy(points()))
    fitted.save(tmp_path / "deep" / "whitening.safetensors")
    loaded = Whitening.load(tmp_path / "deep" / "whitening.safetensors")
    assert loaded.kind == "pca"
    assert torch.equal(loaded.mean, fitted.mean)
    assert torch.equal(loaded.projection, fitted.projection)
    x = torch.from_numpy(points()).float()
    assert loaded.apply(x).dtype == torch.float32


def test_what_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    fitted = fit_pca(torch.from_numpy(points()))
    with pytest.raises(UserError, match="fitted on vectors of 6 numbers and these have 5"):
        fitted.apply(torch.zeros(2, 5))
    with pytest.raises(UserError, match="give 1 to 6"):
        fitted.apply(torch.zeros(2, 6), dim=7)
    with pytest.raises(UserError, match="too few"):
        fit_pca(torch.zeros(1, 6))
    with pytest.raises(UserError, match="all training vectors are alike"):
        fit_pca(torch.ones(4, 6))
    nobody = torch.empty(0, dtype=torch.int64)
    with pytest.raises(UserError, match="no matching pairs"):
        fit_learned(torch.zeros(4, 2), nobody, nobody)
    with pytest.raises(UserError, match="all matching pairs are equal"):
        fit_learned(torch.ones(4, 2), torch.tensor([0]), torch.tensor([1]))
    (tmp_path / "other.safetensors").write_bytes(b"something else")
    with pytest.raises(UserError, match="holds no whitening"):
        Whitening.load(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="there is no whitening"):
        Whitening.load(tmp_path / "none.safetensors")
