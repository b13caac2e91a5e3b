from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import understudy.losses
from understudy.losses.interpolated import Interpolated
from understudy.losses.metrics_from_teachers import RelativeTeacher
from understudy.losses.pml import PmlLoss
from understudy.losses.registry import LOSSES, build_loss, default_weight, loss_names
from understudy.losses.similarity_kl import SimilarityKL


def test_every_entry_tells_what_its_class_tells() -> None:
    for name, entry in LOSSES.items():
        assert issubclass(entry.cls, nn.Module)
        assert entry.inputs == getattr(entry.cls, "inputs", None)
        assert ("labels" in entry.inputs) == entry.supervised, name
        assert entry.cls.__name__ in understudy.losses.__all__
    assert len({entry.cls for entry in LOSSES.values()}) == len(LOSSES)


def test_settings_reach_the_module() -> None:
    loss = build_loss("similarity_kl", {"temperature": 0.3, "include_self": True})
    assert isinstance(loss, SimilarityKL)
    assert (loss.temperature, loss.include_self) == (0.3, True)


def test_what_the_caller_knows_fills_in_what_is_required() -> None:
    hint = build_loss("hint", {"student_channels": 4}, student_channels=9, teacher_channels=6, dim=3)
    assert tuple(hint.regressor.weight.shape[:2]) == (6, 4)  # type: ignore[union-attr,index]
    proxies = build_loss("pml:ProxyAnchorLoss", {}, num_classes=5, dim=3)
    assert isinstance(proxies, PmlLoss)
    assert [tuple(p.shape) for p in proxies.parameters()] == [(5, 3)]


@pytest.mark.parametrize(
    ("args", "inner", "settings"),
    [
        ({}, RelativeTeacher, {"reduction": "mean"}),
        ({"loss": "similarity_kl"}, SimilarityKL, {"temperature": 0.1}),
        (
            {"loss": {"name": "similarity_kl", "args": {"temperature": 0.5}}},
            SimilarityKL,
            {"temperature": 0.5},
        ),
        ({"loss": RelativeTeacher("frobenius")}, RelativeTeacher, {"reduction": "frobenius"}),
    ],
)
def test_the_inner_loss_of_interpolated(
    args: dict[str, Any], inner: type[nn.Module], settings: dict[str, Any]
) -> None:
    loss = build_loss("interpolated", {**args, "mixes": 2.0, "coefficient": ["beta", 0.4]})
    assert isinstance(loss, Interpolated)
    assert isinstance(loss.loss, inner)
    assert {key: getattr(loss.loss, key) for key in settings} == settings
    assert (loss.mixes, loss.beta) == (2.0, 0.4)


@pytest.mark.parametrize(
    ("name", "args", "error", "message"),
    [
        (
            "hard_darkrnk",
            {},
            LookupError,
            "there is no loss named 'hard_darkrnk': did you mean 'hard_darkrank'?",
        ),
        ("PKT", {}, LookupError, "there is no loss named 'PKT': did you mean 'pkt'?"),
        ("pml:MultiSimilarity", {}, LookupError, "did you mean 'pml:MultiSimilarityLoss'?"),
        ("similarity_kl", {"temprature": 1}, TypeError, "takes no 'temprature': did you mean 'temperature'?"),
        ("pkt", {"zzz": 1}, TypeError, "the loss 'pkt' takes no 'zzz': leave it out (it takes no settings)"),
        ("hint", {}, TypeError, "the loss 'hint' needs student_channels and teacher_channels (it takes"),
        (
            "rkd_angle",
            {"delta": "wide"},
            ValueError,
            "rkd_angle needs a delta above 0, got 'wide'",
        ),
        (
            "similarity_kl",
            {"temperature": -1},
            ValueError,
            "similarity_kl needs a temperature above 0, got -1",
        ),
        ("interpolated", {"loss": 3}, TypeError, "needs its loss as a name or {name, args}, got 3"),
        ("interpolated", {"loss": {"name": "pkt", "x": 1}}, TypeError, "settings outside its args: x"),
        ("interpolated", {"loss": "pkd"}, LookupError, "there is no loss named 'pkd': did you mean 'pkt'?"),
        ("interpolated", {"loss": "hint"}, TypeError, "the loss 'hint' needs student_channels"),
    ],
)
def test_mistakes_are_named_in_one_sentence(
    name: str, args: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        build_loss(name, args)
    assert message in str(caught.value.args[0])
    assert "\n" not in str(caught.value.args[0])


def test_an_unknown_name_near_none_lists_all() -> None:
    with pytest.raises(LookupError, match="known are absolute_teacher, attention_transfer, "):
        build_loss("zzzzzz")
    with pytest.raises(LookupError, match="there is no loss named 'nothing'"):
        default_weight("nothing", nn.Identity())


def test_documented_weights() -> None:
    def weight(name: str, batch_size: int = 128, **args: Any) -> float:
        return default_weight(name, build_loss(name, args), batch_size=batch_size)

    # 9/(α·β·log L!): 1/log L! at the paper's α = β = 3.
    assert weight("hard_darkrank", list_length=4) == pytest.approx(1 / math.log(24))
    assert weight("hard_darkrank", batch_size=8) == pytest.approx(1 / math.log(math.factorial(7)))
    assert weight("hard_darkrank", batch_size=8, list_length=99) == weight("hard_darkrank", batch_size=8)
    assert weight("soft_darkrank", alpha=12.25, beta=4, list_length=4) == pytest.approx(9 / 49 / math.log(24))
    assert weight("soft_darkrank", alpha="auto", beta=1.0, list_length=4) == pytest.approx(1 / math.log(24))
    assert weight("soft_target", temperature=4.0) == 16
    assert weight("relative_teacher") == 10
    # The published weight of the Frobenius form at batch 32 is 0.3 on CUB.
    assert weight("relative_teacher", batch_size=32, reduction="frobenius") == pytest.approx(0.3, rel=0.1)
    assert weight("similarity_kl") == weight("similarity_kl", temperature=1.0) == 20
    assert weight("similarity_kl", scale_by_t2=False, temperature=0.5) == 5
    assert weight("direct_match", batch_size=11) == pytest.approx(0.2)
    # The joint set of a mixing loss is larger than the batch.
    inner = {"name": "relative_teacher", "args": {"reduction": "frobenius"}}
    assert weight("interpolated", batch_size=16, loss=inner) == pytest.approx(10 / math.sqrt(32 * 31))
    assert weight("interpolated", batch_size=4, loss=inner, pairs="all") == pytest.approx(10 / math.sqrt(90))
    assert weight("pml:AngularLoss") == 1


def half_trained(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A student midway in noise, its teacher, and labels: classes of four around centres on the sphere."""
    generator = torch.Generator().manual_seed(0)

    def noise(rows: int) -> torch.Tensor:
        return torch.randn(rows, 128, generator=generator) / math.sqrt(128)

    labels = torch.arange(n // 4).repeat_interleave(4)
    teacher = nn.functional.normalize(noise(n // 4)[labels] + 0.5 * noise(n), dim=1)
    return nn.functional.normalize(teacher + noise(n), dim=1), teacher, labels


def pull(loss: nn.Module, student: torch.Tensor, *others: torch.Tensor) -> float:
    """The length of the gradient along the sphere."""
    student = student.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(student, *others), student)
    along = (gradient * student).sum(1, keepdim=True) * student
    length: float = (gradient - along).norm().item()
    return length


@pytest.mark.parametrize("n", [32, 128])
@pytest.mark.parametrize(
    "name", [n for n, e in LOSSES.items() if e.inputs[0] == "embedding" and not e.supervised]
)
def test_default_weights_pull_about_as_hard_as_labels_do(name: str, n: int) -> None:
    student, teacher, labels = half_trained(n)
    loss = build_loss(name)
    reference = pull(build_loss("pml:MultiSimilarityLoss"), student, labels)
    ratio = default_weight(name, loss, batch_size=n) * pull(loss, student, teacher) / reference
    assert 1 / 8 < ratio < 8


@pytest.mark.parametrize("name", ["hard_darkrank", "soft_darkrank"])
@pytest.mark.parametrize(
    "args",
    [
        *(
            {"alpha": "auto", "list_length": n, "target_entropy": h}
            for n in (4, 8, None)
            for h in (0.1, 0.5, 0.9)
        ),
        *({"list_length": n, "tail": True} for n in (1, 4)),
    ],
    ids=str,
)
def test_the_weight_of_darkrank_suits_its_settings(name: str, args: dict[str, Any]) -> None:
    """An α that is found may be many times the paper's; with a tail all rows are candidates."""
    student, teacher, labels = half_trained(128)
    loss = build_loss(name, args)
    reference = pull(build_loss("pml:MultiSimilarityLoss"), student, labels)
    ratio = default_weight(name, loss, batch_size=128) * pull(loss, student, teacher) / reference
    assert 1 / 8 < ratio < 8, ratio


def test_all_names() -> None:
    names = loss_names()
    assert len(names) == len(set(names))
    assert {"pkt", "interpolated", "pml:CircleLoss", "pml:CrossBatchMemory"} <= set(names)
    assert not {"pml:BaseMetricLossFunction", "pml:VICRegLoss", "pml:WeightRegularizerMixin"} & set(names)
