"""The same figures on a GPU as on the processor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.evaluation import (
    Report,
    fit_learned,
    fit_pca,
    matching_pairs,
    metric_learning,
    multi_queries,
    query_gallery,
    reidentification,
    revisited,
    single_gallery_shot,
)

GENERATOR = torch.Generator().manual_seed(0)
#   whole numbers, so that no product is rounded and no order depends on where it was summed
POINTS = torch.randint(-8, 9, (400, 16), generator=GENERATOR).float()
LABELS = torch.randint(-1, 30, (400,), generator=GENERATOR)
CAMERAS = torch.randint(0, 4, (400,), generator=GENERATOR)
QUERY, GALLERY = slice(0, 90), slice(90, 400)
SIDES = (LABELS[QUERY], LABELS[GALLERY], CAMERAS[QUERY], CAMERAS[GALLERY])


def re_id(x: Tensor) -> Report:
    return reidentification(x[QUERY], x[GALLERY], *SIDES, metric="dot", confidence=0.9)


def many(x: Tensor) -> Report:
    means = multi_queries(
        LABELS[:5].clamp(min=0), CAMERAS[:5] * 0, x[:60], LABELS[:5].repeat(12).clamp(min=0), CAMERAS[:60] * 0
    )
    return reidentification(means.vectors, x[GALLERY], means.labels, SIDES[1], means.cameras, SIDES[3])


def pairs(x: Tensor) -> Report:
    rows = torch.arange(180)
    return revisited(x[QUERY], x[GALLERY], rows % 90, rows + 7, 1 + rows % 3, metric="dot")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "protocol",
    [
        lambda x: metric_learning(x, LABELS, reference=2 * x, metric="dot", full=True, map_ks=(5,)),
        lambda x: metric_learning(x, LABELS, metric="dot"),
        lambda x: query_gallery(x[QUERY], x[GALLERY], *SIDES[:2], metric="dot"),
        re_id,
        many,
        lambda x: single_gallery_shot(x[QUERY], x[GALLERY], *SIDES, draws=7, metric="dot"),
        pairs,
    ],
)
def test_a_gpu_measures_the_same(protocol: Callable[[Tensor], Report]) -> None:
    here, there = protocol(POINTS), protocol(POINTS.cuda())
    assert there.metrics == pytest.approx(here.metrics, rel=1e-6)
    assert there.counts == here.counts
    assert all(value.device.type == "cpu" for value in there.per_query.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_whitens_the_same() -> None:
    x = POINTS + torch.linspace(0, 1, 16)
    for fit in (fit_pca, lambda x: fit_learned(x, *matching_pairs(LABELS.to(x.device)))):
        here, there = fit(x).apply(x), fit(x.cuda()).apply(x.cuda())
        assert there.is_cuda
        torch.testing.assert_close((there @ there.T).cpu(), here @ here.T, rtol=1e-4, atol=1e-5)
