"""One gallery image of each identity, against the expectation and against loops over the drawn galleries."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import single_gallery_shot
from understudy.evaluation.single_shot import draw


def scene(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(9, 4, generator=generator)
    ql, gl = (torch.randint(0, 9, (count,), generator=generator) for count in (14, 40))
    qc, gc = (torch.randint(0, 2, (count,), generator=generator) for count in (14, 40))
    ql[0], gl[gl == 8] = 8, 7  # identity 8 is in no gallery
    gl[[5, 6]] = -1
    query, gallery = (centres[x.clamp(min=0)] + torch.randn(len(x), 4, generator=generator) for x in (ql, gl))
    return query, gallery, ql, gl, qc, gc


def chance(given: tuple[Tensor, ...], i: int, k: int) -> float:
    """The chance that query i finds its identity within k, in a gallery drawn at random, exactly.

    Whether another identity is ahead of a given positive is independent of the others: the number ahead has a
    Poisson-binomial law.
    """
    query, gallery, ql, gl, qc, gc = given
    q, g = (torch.nn.functional.normalize(x.double(), dim=1) for x in (query, gallery))
    scores = q[i] @ g.T
    seen = [j for j in range(len(g)) if gl[j] >= 0 and gc[j] != qc[i]]
    own = [j for j in seen if gl[j] == ql[i]]
    if not own:
        return float("nan")
    total = 0.0
    for positive in own:
        law = [1.0] + [0.0] * (k - 1)
        for other in {int(gl[j]) for j in seen} - {int(ql[i])}:
            images = [j for j in seen if gl[j] == other]
            p = sum(bool(scores[j] > scores[positive]) for j in images) / len(images)
            law = [law[n] * (1 - p) + (law[n - 1] * p if n else 0) for n in range(k)]
        total += sum(law) / len(own)
    return total


def test_many_draws_come_near_the_exact_expectation() -> None:
    given = scene()
    report = single_gallery_shot(*given, ks=(1, 3), draws=1000)
    for k in (1, 3):
        want = torch.tensor([chance(given, i, k) for i in range(14)])
        got = report.per_query[f"cmc@{k}"]
        assert torch.equal(got.isnan(), want.isnan())
        torch.testing.assert_close(got.float(), want.float(), rtol=0, atol=0.08, equal_nan=True)  # 5 sigma
        assert report.metrics[f"cmc@{k}"] == pytest.approx(float(got.nanmean()))
    assert report.counts["skipped"] == int(report.per_query["cmc@1"].isnan().sum()) >= 1
    assert report.settings["draws"] == 1000


def test_a_gallery_of_one_image_each_needs_no_chance() -> None:
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[0.9, 0.2], [0.8, 0.1], [0.2, 1.0]])
    report = single_gallery_shot(query, gallery, [0, 1], [0, 2, 1], [0, 0], [1, 1, 1], ks=(1, 2), draws=2)
    assert report.metrics == {"cmc@1": 0.5, "cmc@2": 1.0}


def test_the_seed_decides() -> None:
    given = scene()
    figures = [single_gallery_shot(*given, draws=3, seed=seed).metrics for seed in (1, 1, 2)]
    assert figures[0] == figures[1] != figures[2]


def test_a_draw_holds_each_identity_once_and_any_of_its_images() -> None:
    labels = torch.tensor([4, 4, 4, 9, 2, 9])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(6)
    for _ in range(1000):
        chosen = draw(labels, generator)
        assert sorted(labels[chosen].tolist()) == [2, 4, 9]
        counts[chosen] += 1 / 1000
    torch.testing.assert_close(counts, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.5, 1.0, 0.5]), rtol=0, atol=0.08)


def test_mistakes_are_one_sentence() -> None:
    query, gallery, ql, gl, qc, gc = scene()
    with pytest.raises(UserError, match="no query's identity is seen by another camera"):
        single_gallery_shot(query, gallery, ql, gl, torch.zeros(14).long(), torch.zeros(40).long())
    with pytest.raises(UserError, match="0 draws of the gallery"):
        single_gallery_shot(query, gallery, ql, gl, qc, gc, draws=0)
