"""What a query must not find, in every form."""

from __future__ import annotations

import pytest
import torch

from understudy import search
from understudy.search._exclusion import Exclusion

N, M = 23, 41
CPU = torch.device("cpu")


def codes(seed: int, rows: int) -> torch.Tensor:
    """Two codes a row: an identity and a camera, some of them negative."""
    generator = torch.Generator().manual_seed(seed)
    identities = torch.randint(-1, 4, (rows,), generator=generator)
    return torch.stack([identities, torch.randint(0, 3, (rows,), generator=generator)], dim=1)


OURS, THEIRS = codes(0, N), codes(1, M)
SAME = (OURS[:, None] == THEIRS[None]).all(2)
JUNK = THEIRS[:, 0] == -1


def forms() -> dict[str, search.Exclude]:
    """The same pairs in four ways."""
    banned = SAME | JUNK
    return {
        "codes": search.SameCodes(OURS, THEIRS, never=JUNK),
        "rule": lambda rows, columns: banned[rows[:, None], columns],
        "lists": [row.nonzero()[:, 0] for row in banned],
        "padded": torch.where(banned, torch.arange(M), -1),
    }


@pytest.mark.parametrize("form", ["codes", "rule", "lists", "padded"])
def test_a_tile_some_queries_and_some_candidates_agree_with_the_table(form: str) -> None:
    banned = SAME | JUNK
    exclusion = Exclusion(forms()[form], N, M, CPU)
    tile = torch.zeros(7, 11)
    exclusion.blot(tile, range(4, 11), range(20, 31))
    assert torch.equal(tile == -torch.inf, banned[4:11, 20:31])
    candidates = torch.stack([torch.randperm(M)[:9] for _ in range(N)])
    assert torch.equal(exclusion.among(candidates), banned.gather(1, candidates))
    some = torch.tensor([20, 3, 3, 11])
    tile = torch.zeros(2, M)
    exclusion.of(some).blot(tile, range(1, 3), range(M))
    assert torch.equal(tile == -torch.inf, banned[some[1:3]])
    twice = exclusion.of(some).of(torch.tensor([3, 0]))
    assert torch.equal(twice.among(candidates[:2]), banned[[11, 20]].gather(1, candidates[:2]))


def test_nothing_is_excluded_without_a_form() -> None:
    exclusion = Exclusion(None, N, M, CPU)
    assert not exclusion.of(torch.tensor([1])).among(torch.tensor([[0, 4]])).any()
    nobody = Exclusion([torch.empty(0, dtype=torch.int64)] * 2, 2, 3, CPU)
    assert not nobody.among(torch.tensor([[0], [2]])).any()
    assert len(nobody.of(torch.empty(0, dtype=torch.int64)).among(torch.empty(0, 3, dtype=torch.int64))) == 0


def test_the_same_identity_in_the_same_camera_is_not_ranked() -> None:
    generator = torch.Generator().manual_seed(2)
    query, gallery = torch.randn(N, 4, generator=generator), torch.randn(M, 4, generator=generator)
    want = search.topk(query, gallery, M, exclude=forms()["rule"])
    for block_bytes in (1, 3000, None):
        got = search.topk(query, gallery, M, exclude=forms()["codes"], block_bytes=block_bytes)
        assert torch.equal(got[1], want[1])
        assert torch.allclose(got[0], want[0], atol=1e-6)
    assert not (want[1][:, :, None] == JUNK.nonzero()[:, 0]).any()


def test_one_code_a_row_may_be_a_vector() -> None:
    rule = search.SameCodes(torch.tensor([5, 2**40]), torch.tensor([2**40, 5, 7]))
    _, indices = search.topk(torch.ones(2, 1), torch.ones(3, 1), 3, exclude=rule)
    assert indices.tolist() == [[0, 2, -1], [1, 2, -1]]
    empty = search.SameCodes(torch.empty(0, 2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64))
    assert search.topk(torch.ones(0, 1), torch.ones(3, 1), 1, exclude=empty)[1].shape == (0, 1)


@pytest.mark.parametrize(
    ("query", "gallery", "never", "message"),
    [
        (OURS[:-1], THEIRS, None, "for the query"),
        (OURS, THEIRS.float(), None, "for the gallery, got torch.float32"),
        (OURS, THEIRS[:, 0], None, "equally many codes a row, got 2 and 1"),
        (OURS, THEIRS, JUNK[1:], "never must be boolean"),
        (OURS, THEIRS, JUNK.long(), "never must be boolean"),
    ],
)
def test_wrong_codes_are_refused(
    query: torch.Tensor, gallery: torch.Tensor, never: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        search.topk(torch.ones(N, 1), torch.ones(M, 1), 1, exclude=search.SameCodes(query, gallery, never))


def test_no_query_has_an_empty_table_of_exclusions() -> None:
    none = torch.empty(0, 3, dtype=torch.int64)
    assert search.topk(torch.ones(0, 2), torch.ones(4, 2), 2, exclude=none)[1].shape == (0, 2)
