"""Re-identification against loops over every pair, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.evaluation import multi_queries, reidentification

Scene = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def scene(seed: int, queries: int = 23, gallery: int = 57) -> Scene:
    """Some identities are in one camera only, 8 … 10 are distractors, some images are junk (−1)."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(11, 6, generator=generator)

    def some(count: int, identities: int) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.randint(0, identities, (count,), generator=generator)
        cameras = torch.randint(0, 3, (count,), generator=generator)
        return centres[labels] + torch.randn(count, 6, generator=generator), labels, cameras

    query, query_labels, query_cameras = some(queries, 8)
    base, gallery_labels, gallery_cameras = some(gallery, 11)
    gallery_labels[gallery_labels == 0] = 9  # identity 0 is nowhere
    gallery_cameras[gallery_labels == 1] = 2  # identity 1 is in one camera only
    query_cameras[query_labels == 1] = 2
    gallery_labels[[3, 30]] = -1
    return query, base, query_labels, gallery_labels, query_cameras, gallery_cameras


def ranked(q: Tensor, g: Tensor, seen: list[int]) -> list[int]:
    return sorted(seen, key=lambda j: (-float(q @ g[j]), j))


def by_loop(scene: Scene, ks: tuple[int, ...]) -> tuple[dict[str, list[float]], int]:
    query, gallery, ql, gl, qc, gc = scene
    q, g = (torch.nn.functional.normalize(x.double(), dim=1) for x in (query, gallery))
    figures: dict[str, list[float]] = {**{f"cmc@{k}": [] for k in ks}, "map": [], "minp": []}
    skipped = 0
    for i in range(len(q)):
        if ql[i] < 0:
            continue
        seen = [j for j in range(len(g)) if gl[j] >= 0 and not (gl[j] == ql[i] and gc[j] == qc[i])]
        right = [bool(gl[j] == ql[i]) for j in ranked(q[i], g, seen)]
        if not any(right):
            skipped += 1
            continue
        hits = [place for place, yes in enumerate(right, start=1) if yes]
        for k in ks:
            figures[f"cmc@{k}"].append(float(hits[0] <= k))
        figures["map"].append(sum(n / place for n, place in enumerate(hits, start=1)) / len(hits))
        figures["minp"].append(len(hits) / hits[-1])
    return figures, skipped


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("block_bytes", [1, None])
def test_equals_a_loop(seed: int, block_bytes: int | None) -> None:
    given = scene(seed)
    report = reidentification(*given, block_bytes=block_bytes, confidence=0.9, resamples=50)
    want, skipped = by_loop(given, (1, 5, 10))
    means = {name: sum(values) / len(values) for name, values in want.items()}
    assert list(report.metrics) == list(means)
    assert report.metrics == pytest.approx(means, rel=1e-12)
    assert report.counts["skipped"] == skipped >= 1
    assert report.counts["gallery"] == 55
    assert report.counts["unlabelled"] == 2
    strangers = set(given[3].tolist()) - set(given[2].tolist()) - {-1}
    assert report.counts["distractors"] == sum(given[3].tolist().count(label) for label in strangers) >= 5
    for name, values in report.per_query.items():
        assert values[~values.isnan()].tolist() == pytest.approx(want[name])
        low, high = report.intervals[name]
        assert low <= report.metrics[name] <= high


def test_the_camera_and_the_distractors_count() -> None:
    query, gallery, ql, gl, qc, gc = scene(0)
    whole = reidentification(query, gallery, ql, gl, qc, gc).metrics["map"]
    elsewhere = reidentification(query, gallery, ql, gl, qc + 10, gc).metrics["map"]
    assert elsewhere != pytest.approx(whole, abs=1e-3)
    known = torch.isin(gl, ql)
    fewer = reidentification(query, gallery[known], ql, gl[known], qc, gc[known]).metrics["map"]
    assert fewer > whole + 0.01


def test_unlabelled_queries_keep_their_places() -> None:
    query, gallery, ql, gl, qc, gc = scene(1)
    ql[[0, 5]] = -1
    qc[5] = -1  # nobody asks
    report = reidentification(query, gallery, ql, gl, qc, gc)
    want, _ = by_loop((query, gallery, ql, gl, qc, gc), (1,))
    assert report.metrics["map"] == pytest.approx(sum(want["map"]) / len(want["map"]), rel=1e-12)
    assert report.per_query["map"].shape == (23,)
    assert report.per_query["map"][[0, 5]].isnan().all()


def test_multi_query_averages_one_identity_in_one_camera() -> None:
    query, gallery, ql, gl, qc, gc = scene(2)
    generator = torch.Generator().manual_seed(7)
    shots = torch.cat(
        [query, query + torch.randn(23, 6, generator=generator), torch.randn(9, 6, generator=generator)]
    )
    labels = torch.cat([ql, ql, torch.tensor([0, 1, 2, 3, 50, 51, 4, -1, -1])])
    cameras = torch.cat([qc, qc, torch.tensor([9, 9, 9, 9, 0, 1, 9, 0, 1])])
    many = multi_queries(ql, qc, shots, labels, cameras)
    pairs = sorted({(int(a), int(b)) for a, b in zip(ql, qc, strict=True)})
    assert list(zip(many.labels.tolist(), many.cameras.tolist(), strict=True)) == pairs
    for place, (label, camera) in enumerate(pairs):
        mine = [
            shots[i].double()
            for i in range(len(shots))
            if int(labels[i]) == label and int(cameras[i]) == camera
        ]
        mean = sum(mine, torch.zeros(6).double()) / len(mine)
        torch.testing.assert_close(many.vectors[place].double(), mean / mean.norm(), rtol=1e-5, atol=1e-6)
        assert many.first[place] == min(i for i in range(23) if int(ql[i]) == label and int(qc[i]) == camera)
    report = reidentification(many.vectors, gallery, many.labels, gl, many.cameras, gc)
    want, _ = by_loop((many.vectors, gallery, many.labels, gl, many.cameras, gc), (1, 5, 10))
    assert report.metrics == pytest.approx({n: sum(v) / len(v) for n, v in want.items()}, rel=1e-12)


def test_what_is_missing_is_named() -> None:
    query, gallery, ql, gl, qc, gc = scene(3)
    with pytest.raises(UserError, match="1 of 23 query images have no camera"):
        reidentification(query, gallery, ql, gl, torch.where(torch.arange(23) == 4, -1, qc), gc)
    with pytest.raises(UserError, match="the queries have 6 dimensions and the gallery 5: train"):
        reidentification(query, gallery[:, :5], ql, gl, qc, gc)
    with pytest.raises(UserError, match="nothing to measure"):
        reidentification(query, gallery, ql, gl + 50, qc, gc)
    with pytest.raises(ValueError, match="the gallery cameras must be 57 whole numbers"):
        reidentification(query, gallery, ql, gl, qc, gc[:5])
    with pytest.raises(
        UserError, match=r"of \d+ pairs of a query's identity and camera have no image in the split"
    ):
        multi_queries(ql, qc, query[:4], ql[:4], qc[:4])
    with pytest.raises(UserError, match="23 of 23 query images have no camera"):
        multi_queries(ql, qc * 0 - 1, query, ql, qc)
