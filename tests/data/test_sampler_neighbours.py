"""Batches from a teacher's neighbourhoods: what is in them, and that their lists say more than random."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.data.samplers import Sampler, TeacherNeighbours, Unlabelled
from understudy.errors import UserError
from understudy.training.neighbourhoods import learn_neighbourhoods, nearest_others

ROWS = np.arange(400, 1000)


def clusters(seed: int = 0) -> Tensor:
    """A teacher's vectors of 600 images: 60 clusters of 10."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(60, 16, generator=generator).repeat_interleave(10, dim=0)
    return F.normalize(centres + 0.3 * torch.randn(600, 16, generator=generator), dim=1)


def made(vectors: Tensor, size: int = 64, neighbours: int = 7, **settings: int) -> TeacherNeighbours:
    settings = {"neighbourhood": 9, "seed": 0, **settings}
    return TeacherNeighbours(ROWS, size, neighbours, nearest_others(vectors, 20), **settings)


def test_the_nearest_others_are_those_of_brute_force() -> None:
    vectors = clusters()
    vectors[5] = vectors[11]  # duplicates: none finds itself, each finds the other first
    scores = vectors.double() @ vectors.double().T
    scores.fill_diagonal_(-torch.inf)
    wanted = scores.sort(dim=1, descending=True, stable=True).indices[:, :9].numpy()
    found = nearest_others(vectors, 9)
    assert (found[5, 0], found[11, 0]) == (11, 5)
    assert np.array_equal(found, wanted)


def test_groups_are_seeds_and_some_of_their_nearest() -> None:
    vectors = clusters()
    sampler = made(vectors)
    nearest = nearest_others(vectors, 9)
    whole = 0
    for batch in sampler.plan(3):
        assert len(set(batch)) == 64
        for group in (batch - 400).reshape(8, 8):
            whole += set(group[1:]) <= set(nearest[group[0]])
    assert whole > 0.8 * 8 * len(sampler)  # some clusters have two seeds in a batch and not enough for both


def test_neighbours_vary_from_epoch_to_epoch_within_the_neighbourhood() -> None:
    vectors = clusters()
    nearest = nearest_others(vectors, 20)
    sampler = TeacherNeighbours(ROWS, 2, 1, nearest, neighbourhood=4, seed=0)
    beside: dict[int, set[int]] = {}
    for epoch in range(12):
        for seed, neighbour in sampler.plan(epoch) - 400:
            beside.setdefault(int(seed), set()).add(int(neighbour))
            assert neighbour in nearest[seed, :4]
    assert max(map(len, beside.values())) > 2


def test_every_image_is_a_seed_before_any_is_again() -> None:
    sampler = made(clusters(), size=2, neighbours=1)
    seeds = np.concatenate([sampler.plan(epoch)[:, 0] for epoch in range(6)])
    assert len(seeds) == 1800
    for shuffle in seeds.reshape(3, 600):
        assert sorted(shuffle) == ROWS.tolist()
    assert not np.array_equal(seeds[:600], seeds[600:1200])


def test_overlapping_neighbourhoods_leave_no_place_empty() -> None:
    nearest = np.tile(np.arange(1, 5), (40, 1))  # everybody is near the same four
    sampler = TeacherNeighbours(np.arange(40), 16, 3, nearest, neighbourhood=4, seed=0)
    for batch in sampler.plan(0):
        assert len(set(batch)) == 16
        assert {1, 2, 3, 4} <= set(batch)


def test_missing_neighbours_are_passed_over() -> None:
    nearest = np.full((10, 3), -1)
    nearest[:, 0] = (np.arange(10) + 5) % 10
    sampler = TeacherNeighbours(np.arange(10), 4, 1, nearest, neighbourhood=3, seed=1)
    for first, second, third, fourth in sampler.plan(0):
        assert (first + 5) % 10 in (second, third, fourth)
        assert len({first, second, third, fourth}) == 4


def test_a_batch_may_be_the_whole_set_and_no_more() -> None:
    vectors = clusters()[:20]
    whole = TeacherNeighbours(np.arange(20), 20, 7, nearest_others(vectors, 9), neighbourhood=9, seed=0)
    assert sorted(whole.plan(0)[0]) == list(range(20))
    with pytest.raises(UserError, match=r"a batch of 21 of 20 images .* sampler\.batch_size"):
        TeacherNeighbours(np.arange(20), 21, 7, neighbourhood=9, seed=0)
    with pytest.raises(UserError, match=r"10 neighbours cannot be drawn from a neighbourhood of 9"):
        TeacherNeighbours(np.arange(20), 20, 10, neighbourhood=9, seed=0)


def test_neighbourhoods_are_checked_and_needed() -> None:
    sampler = TeacherNeighbours(ROWS, 64, 7, neighbourhood=9, seed=0)
    with pytest.raises(RuntimeError, match="call learn first"):
        sampler.plan(0)
    with pytest.raises(ValueError, match=r"\(600, k\) places"):
        sampler.learn(np.zeros((3, 9), dtype=np.int64))
    with pytest.raises(ValueError, match="from -1 to 599"):
        sampler.learn(np.full((600, 9), 600))
    asked: list[Tensor] = []

    def embed(rows: Tensor) -> Tensor:
        asked.append(rows)
        return clusters()

    learn_neighbourhoods(sampler, embed)
    assert np.array_equal(asked[0].numpy(), ROWS)
    assert np.array_equal(sampler.plan(1), made(clusters()).plan(1))


def informative(sampler: Sampler, vectors: Tensor) -> tuple[float, float, float]:
    """Of a batch's lists: spread of distances, share of near pairs, share of a query's own ten nearest."""
    top = torch.from_numpy(nearest_others(vectors, 10))
    spread, near, own_nearest = [], [], []
    for batch in sampler.plan(0):
        places = torch.from_numpy(batch - 400)
        cosines = vectors[places] @ vectors[places].T
        others = cosines[~torch.eye(len(places), dtype=torch.bool)].view(len(places), -1)
        spread.append((2 - 2 * others).clamp_min(0).sqrt().std(dim=1).mean().item())
        near.append((others > 0.7).float().mean().item())
        own_nearest.append(torch.isin(top[places], places).float().mean().item())
    return float(np.mean(spread)), float(np.mean(near)), float(np.mean(own_nearest))


def test_lists_say_more_than_random_ones() -> None:
    vectors = clusters()
    near, random = informative(made(vectors), vectors), informative(Unlabelled(ROWS, 64, seed=0), vectors)
    assert near[0] > 1.4 * random[0]  # distances differ more from each other
    assert near[1] > 5 * random[1]  # more pairs of one neighbourhood
    assert near[2] > 5 * random[2]  # more of the ranking that a search would show


def test_lists_of_a_set_without_structure_say_more_too() -> None:
    vectors = F.normalize(torch.randn(600, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    near, random = informative(made(vectors), vectors), informative(Unlabelled(ROWS, 64, seed=0), vectors)
    assert all(one > other for one, other in zip(near, random, strict=True))


def test_the_page_says_what_was_found() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data-efficient.md").read_text(encoding="utf-8")
    (paragraph,) = re.findall(r"^On 600 vectors in 60 clusters.*$", page, re.MULTILINE)
    random, near, spread, flat_random, flat_near = map(
        float, re.findall(r"(\d+(?:\.\d+)?) (?:%|times)", paragraph)
    )
    flat = F.normalize(torch.randn(600, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    for vectors, wanted in ((clusters(), (random, near)), (flat, (flat_random, flat_near))):
        found = informative(made(vectors), vectors), informative(Unlabelled(ROWS, 64, seed=0), vectors)
        assert 100 * found[1][2] == pytest.approx(wanted[0], abs=1.5)
        assert 100 * found[0][2] == pytest.approx(wanted[1], abs=1.5)
        if vectors is not flat:
            assert found[0][0] / found[1][0] == pytest.approx(spread, abs=0.1)
