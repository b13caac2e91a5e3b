from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from understudy.losses.darkrank_score import darkrank_from_authors
from understudy.losses.darkrank_soft import SoftDarkRank, soft_darkrank
from understudy.losses.presets import PRESETS, preset
from understudy.losses.supervised import LMNN, LSoftmax, Triplet, Verification

LABELS = torch.arange(8) // 2


def test_a_preset_is_a_copy() -> None:
    preset("darkrank_base")["supervised"].clear()
    assert len(preset("darkrank_base")["supervised"]) == 3
    with pytest.raises(LookupError, match="no preset named 'darkrank_bas': did you mean 'darkrank_base'"):
        preset("darkrank_bas")


def test_entries_have_the_form_of_a_configuration() -> None:
    for lists in PRESETS.values():
        assert set(lists) == {"supervised", "losses"}
        for entry in [*lists["supervised"], *lists["losses"]]:
            assert set(entry) == {"name", "weight", "args"}


def test_darkrank_base_is_the_papers_objective_term_by_term() -> None:
    """L-softmax + 5·verification + 0.1·triplet, each against its formula on a batch of eight."""
    torch.manual_seed(0)
    raw = torch.randn(8, 5, dtype=torch.float64)
    x = F.normalize(raw, dim=1)
    entries = {entry["name"]: entry for entry in preset("darkrank_base")["supervised"]}
    assert {name: entry["weight"] for name, entry in entries.items()} == {
        "l_softmax": 1.0,
        "verification": 5.0,
        "triplet": 0.1,
    }
    softmax = LSoftmax(num_classes=4, dim=5, **entries["l_softmax"]["args"]).double()
    logits = raw @ softmax.weight.T
    rows = []
    for i in range(8):
        length = raw[i].norm() * softmax.weight[LABELS[i]].norm()
        theta = (logits[i, LABELS[i]] / length).acos()
        k = int(3 * theta / torch.pi)
        row = logits[i].clone()
        row[LABELS[i]] = length * ((-1) ** k * (3 * theta).cos() - 2 * k)
        rows.append(row.logsumexp(0) - row[LABELS[i]])
    torch.testing.assert_close(softmax(raw, LABELS), torch.stack(rows).mean())

    d = (x[:, None] - x).norm(dim=2)
    pairs = [
        0.5 * (d[i, j] ** 2 if LABELS[i] == LABELS[j] else (0.9 - d[i, j]).relu() ** 2)
        for i in range(8)
        for j in range(8)
        if i != j
    ]
    verification = Verification(**entries["verification"]["args"])
    torch.testing.assert_close(verification(x, LABELS), torch.stack(pairs).mean())

    triplets = [
        (d[a, p] ** 2 - d[a, n] ** 2 + 0.9).relu()
        for a in range(8)
        for p in range(8)
        for n in range(8)
        if a != p and LABELS[a] == LABELS[p] and LABELS[a] != LABELS[n]
    ]
    assert len(triplets) == 8 * 6
    triplet = Triplet(**entries["triplet"]["args"])
    torch.testing.assert_close(triplet(x, LABELS), torch.stack(triplets).mean())


def test_darkrank_code_is_the_published_command() -> None:
    lists = preset("darkrank_code")
    softmax, lmnn = lists["supervised"]
    (ranking,) = lists["losses"]
    assert (softmax["weight"], lmnn["weight"], ranking["weight"]) == (1.0, 0.5, 2.0)
    module = LSoftmax(num_classes=4, dim=5, **softmax["args"])
    module.steps.fill_(100_000)
    assert module.blend_now().item() == pytest.approx(1000 * 0.99999**100_000)
    module.steps.fill_(1_000_000)
    assert module.blend_now().item() == 5
    assert (LMNN(**lmnn["args"]).margin, LMNN(**lmnn["args"]).push) == (0.9, 0.1)
    args = ranking["args"]
    assert (args["alpha"], args["beta"]) == darkrank_from_authors(score_power=2.0, embedding_l2_norm=3.5)

    torch.manual_seed(0)
    student, teacher = torch.randn(8, 5), torch.randn(8, 3)
    expected = soft_darkrank(
        student,
        teacher,
        alpha=12.25,
        beta=4.0,
        list_length=4,
        queries=torch.arange(4),
        detach_query=True,
    )
    assert torch.equal(SoftDarkRank(**args)(student, teacher), expected)
