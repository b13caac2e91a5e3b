from __future__ import annotations

import torch
from torch import nn

from understudy.training.directory.best import Best


def modules(value: float) -> list[nn.Module]:
    built = [nn.Linear(2, 1), nn.BatchNorm1d(3)]
    for module in built:
        for tensor in module.state_dict().values():
            tensor.fill_(value)
    return built


def values(trained: list[nn.Module]) -> set[float]:
    return {
        float(x) for module in trained for tensor in module.state_dict().values() for x in tensor.flatten()
    }


def test_student_and_classifier_go_back_together() -> None:
    best = Best(wanted=True)
    for score, value in ((0.5, 1.0), (0.7, 2.0), (0.7, 3.0), (0.6, 4.0)):
        best.offer(score, modules(value))
    last = modules(9.0)
    best.restore(last)
    assert values(last) == {2.0}  # the first of two that did equally well


def test_it_resumes_from_its_state() -> None:
    first, second = Best(wanted=True), Best(wanted=True)
    first.offer(0.9, modules(1.0))
    second.load_state(first.state())
    second.offer(0.8, modules(2.0))
    last = modules(9.0)
    second.restore(last)
    assert values(last) == {1.0}


def test_nothing_is_kept_that_nobody_wants() -> None:
    best = Best(wanted=False)
    best.offer(0.9, modules(1.0))
    last = modules(9.0)
    best.restore(last)
    assert values(last) == {9.0}


def test_what_is_kept_is_a_copy() -> None:
    best = Best(wanted=True)
    trained = modules(1.0)
    best.offer(0.5, trained)
    with torch.no_grad():
        for tensor in trained[0].state_dict().values():
            tensor.fill_(5.0)
    best.restore(trained)
    assert values(trained) == {1.0}
