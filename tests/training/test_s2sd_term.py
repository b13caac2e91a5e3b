"""S2SD through the configuration, against the equations of the paper's code written out in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from understudy.config import RunConfig, parse
from understudy.losses import MultiSimilarity
from understudy.models import count_parameters, load
from understudy.training.objective.s2sd import FEATURE_MAP, S2SDTerm, Variant
from understudy.training.objective.step import Step
from understudy.training.plan import Plan, draw_up
from understudy.training.run import execute
from understudy.training.task import Task
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]
VARIANTS: tuple[Variant, ...] = ("dsd", "msd", "msdf", "msdfa")
GAMMA, FEATURE_GAMMA, T, DELAY = 50.0, 5.0, 0.7, 3


def plan(settings: Settings, **s2sd: Any) -> Plan:
    config: RunConfig = parse(RunConfig, settings(s2sd=s2sd), where="test")
    return draw_up(config, Workshop())


def step_of(student: nn.Module, number: int, rows: int = 12) -> Step:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(rows, 1, 16, 16, generator=generator)
    with torch.no_grad():
        outputs = student.eval()(images)
    labels = torch.arange(rows) // 3
    labels[-2] = -1  # an unlabelled row learns from the heads and from no label
    return Step(number, outputs, {}, labels)


def unit(x: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = x / np.linalg.norm(x, axis=1, keepdims=True)
    return scaled


def multi_similarity(x: np.ndarray, labels: np.ndarray) -> float:
    """Wang et al., equation 6, mined by 7 and 8, with the settings 2, 40, 0.5 and 0.1."""
    S, n, values = x @ x.T, len(x), []
    for i in range(n):
        if labels[i] < 0:
            continue
        own = [S[i, j] for j in range(n) if j != i and labels[j] == labels[i]]
        other = [S[i, j] for j in range(n) if labels[j] >= 0 and labels[j] != labels[i]]
        hard_own = [s for s in own if other and s - 0.1 < max(other)]
        hard_other = [s for s in other if own and s + 0.1 > min(own)]
        pull = math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in hard_own)) / 2
        push = math.log(1 + sum(math.exp(40 * (s - 0.5)) for s in hard_other)) / 40
        values.append(pull + push)
    return sum(values) / len(values)


def kl(base: np.ndarray, target: np.ndarray) -> float:
    """L_dist(A, B) = T²/n Σ_i KL(σ(B_i/T) ‖ σ(A_i/T)) of cosine matrices, the diagonal included."""

    def softmax(rows: np.ndarray) -> np.ndarray:
        e = np.exp(rows / T)
        q: np.ndarray = e / e.sum(1, keepdims=True)
        return q

    p, q = softmax(unit(target) @ unit(target).T), softmax(unit(base) @ unit(base).T)
    return float(T**2 / len(base) * (p * (np.log(p) - np.log(q))).sum())


def expected(term: S2SDTerm, step: Step, variant: Variant) -> float:
    """Section 2.1 of the method, from the head's weights alone."""
    as_array = {
        name: value.double().numpy() for name, value in step.outputs.items() if isinstance(value, Tensor)
    }
    base, features = as_array["embedding"], as_array["pooled"]
    if variant == "msdfa":
        maps = step.outputs["maps"][FEATURE_MAP].double().numpy()
        features = maps.mean((2, 3)) + maps.max((2, 3))
    heads = []
    for head in term.heads:
        W1, b1, W2, b2 = (p.detach().double().numpy() for p in head.parameters())
        heads.append(unit(np.maximum(features @ W1.T + b1, 0) @ W2.T + b2))
    labels = step.labels.numpy()
    supervised = 0.5 * (
        multi_similarity(base, labels) + sum(multi_similarity(z, labels) for z in heads) / len(heads)
    )
    total = supervised + GAMMA / len(heads) * sum(kl(base, z) for z in heads)
    if variant in ("msdf", "msdfa") and step.number >= DELAY:
        total += FEATURE_GAMMA * kl(base, features)
    return total


@pytest.mark.parametrize("number", [0, DELAY - 1, DELAY, 100])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_objective_is_the_papers(settings: Settings, variant: Variant, number: int) -> None:
    drawn = plan(
        settings,
        base="multi_similarity",
        variant=variant,
        dims=[6, 10, 14],
        weight=GAMMA,
        feature_weight=FEATURE_GAMMA,
        temperature=T,
        delay=DELAY,
    )
    (term,) = drawn.terms
    assert isinstance(term, S2SDTerm)
    assert len(term.heads) == (1 if variant == "dsd" else 3)
    step = step_of(drawn.student, number)
    term.set_step(number)
    assert term(step).item() == pytest.approx(expected(term, step, variant), rel=2e-5)


class Nothing(nn.Module):
    """A supervised loss that teaches nothing."""

    def forward(self, rows: Tensor, labels: Tensor) -> Tensor:
        return 0 * rows.sum()


def leaves() -> dict[str, Tensor]:
    torch.manual_seed(0)
    embedding = nn.functional.normalize(torch.randn(8, 4), dim=1)
    return {"embedding": embedding.requires_grad_(), "pooled": torch.rand(8, 5).requires_grad_()}


def gradients(term: S2SDTerm, outputs: dict[str, Tensor]) -> tuple[float, float, float]:
    """The largest gradient at the embedding, at the features and at the heads' weights."""
    term.set_step(0)
    term(Step(0, outputs, {}, torch.arange(8) // 2)).backward()  # type: ignore[arg-type]
    found = [outputs["embedding"].grad, outputs["pooled"].grad, *(p.grad for p in term.heads.parameters())]
    sizes = [0.0 if g is None else float(g.abs().max()) for g in found]
    return sizes[0], sizes[1], max(sizes[2:])


def make(criterion: Callable[[int], nn.Module], **more: Any) -> S2SDTerm:
    torch.manual_seed(1)
    return S2SDTerm(criterion, "msdf", (6, 7), base_dim=4, pooled_dim=5, delay=0, **more)


def test_the_similarities_train_the_base_head_and_never_their_targets() -> None:
    embedding, features, heads = gradients(make(lambda _: Nothing()), leaves())
    assert embedding > 0.01
    assert (features, heads) == (0, 0)


def test_the_losses_on_labels_train_heads_and_backbone() -> None:
    quiet = {"weight": 0.0, "feature_weight": 0.0}
    embedding, features, heads = gradients(make(lambda _: MultiSimilarity(), **quiet), leaves())
    assert min(embedding, features, heads) > 0.001


def test_in_the_whole_model_the_backbone_learns_from_both(settings: Settings) -> None:
    drawn = plan(settings, dims=[6], delay=0)
    task = Task(drawn.student, drawn.terms).train()
    images = torch.randn(12, 1, 16, 16)
    loss = task.criterion(task.student(images), {}, torch.arange(12) // 3, 0)["loss"]
    torch.autograd.backward(loss)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in task.parameters())


def test_each_head_has_a_criterion_of_its_own(settings: Settings, taught: Path) -> None:
    drawn = plan(settings, base="margin", variant="msd", dims=[6, 10])
    (term,) = drawn.terms
    assert isinstance(term, S2SDTerm)
    betas = list(term.criteria.parameters())
    assert [tuple(beta.shape) for beta in betas] == [(6,)] * 3  # six classes to train on
    before = [beta.detach().clone() for beta in betas]
    task = Task(drawn.student, drawn.terms).train()
    optimiser = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        outputs = task.student(torch.randn(12, 1, 16, 16))
        torch.autograd.backward(task.criterion(outputs, {}, torch.arange(12) % 6, 0)["loss"])
        optimiser.step()
    moved = [(new - old).detach() for new, old in zip(betas, before, strict=True)]
    assert all(step.abs().max() > 0 for step in moved)
    assert not torch.equal(moved[0], moved[1])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("base", ["multi_similarity", "margin"])
def test_a_trained_model_has_no_training_head(
    settings: Settings, tmp_path: Path, variant: str, base: str
) -> None:
    s2sd = {"base": base, "variant": variant, "dims": [6, 10], "delay": 2}
    config: RunConfig = parse(RunConfig, settings(s2sd=s2sd), where="test")
    run = execute(config, tmp_path / "run")
    plain = execute(parse(RunConfig, settings(steps=1), where="test"), tmp_path / "plain")
    saved, others = (load_file(r.path / "model" / "model.safetensors") for r in (run, plain))
    assert saved.keys() == others.keys()
    model = load(run.path / "model")
    assert model.classes is None
    assert count_parameters(model) == count_parameters(plain.model)
    card = (run.path / "model" / "README.md").read_text()
    assert f"* losses: S2SD ({variant} over {base})\n" in card
    assert '"s2sd": ' in (run.path / "metrics.jsonl").read_text()
