"""Losses at several lengths of the embedding, and through the projection, against the sums written out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.losses import build_loss
from understudy.models import Embedder, Projection, build_embedder
from understudy.teachers import LiveTeacher
from understudy.training.objective.build_terms import build_terms
from understudy.training.objective.prefixes import Prefixes
from understudy.training.objective.step import Step
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm, Term
from understudy.training.plan import Plan, draw_up
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]
CLASSES = tuple("abcd")
ROWS, DIM, TEACHER_DIM = 12, 8, 12
WEIGHTS = {8: 1.0, 5: 3.0, 2: 0.5}
SHARES = {dim: weight / sum(WEIGHTS.values()) for dim, weight in WEIGHTS.items()}


def student(**more: Any) -> Embedder:
    torch.manual_seed(0)
    settings = {"backbone": "smallconv_8", "dim": DIM, "input_size": [16, 16]}
    return build_embedder({**settings, "prefixes": [2, 5], "prefix_weights": [0.5, 3.0], **more})


def term_of(value: dict[str, Any], model: Embedder | None = None) -> tuple[Term, nn.Linear | None]:
    """The only term of a configuration."""
    base = {"supervised": [], "student": "smallconv_8", "teachers": {"main": "any"}}
    config: RunConfig = parse(RunConfig, {**base, **value}, where="test")
    torch.manual_seed(1)
    teacher = build_embedder({"backbone": "smallconv_8", "dim": TEACHER_DIM}, classes=CLASSES)
    (term,), classifier = build_terms(
        config, config.supervised or (), model or student(), {"main": LiveTeacher(teacher)}, CLASSES
    )
    return term, classifier


def a_step(classifier: nn.Linear | None = None, number: int = 0) -> Step:
    generator = torch.Generator().manual_seed(2)
    raw = torch.randn(ROWS, DIM, generator=generator, requires_grad=True)
    outputs: Any = {"raw": raw, "embedding": nn.functional.normalize(raw, dim=1)}
    outputs["pooled"] = torch.randn(ROWS, 16, generator=generator)
    if classifier is not None:
        outputs["logits"] = classifier(raw)
    taught: Any = {
        "embedding": nn.functional.normalize(torch.randn(ROWS, TEACHER_DIM, generator=generator), dim=1),
        "logits": torch.randn(ROWS, len(CLASSES), generator=generator),
    }
    return Step(number, outputs, {"main": taught}, torch.arange(ROWS) % len(CLASSES))


def double(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().double().numpy()
    return array


def unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def at_every_length(of: Callable[[int], float]) -> float:
    return sum(share * of(dim) for dim, share in SHARES.items())


def test_the_weights_are_the_shares_and_a_listed_whole_has_its_own() -> None:
    lengths = Prefixes.of(student())
    assert lengths.dims == (2, 5)
    assert dict(zip((8, 2, 5), lengths.shares, strict=True)) == pytest.approx(SHARES)
    listed = Prefixes.of(student(prefixes=[8, 2], prefix_weights=[3.0, 1.0]))
    assert (listed.dims, listed.shares) == ((2,), (0.75, 0.25))
    assert Prefixes.of(student(prefixes=[], prefix_weights=None)).shares == (1.0,)
    with pytest.raises(ValueError, match="2 lengths need a weight each, got 1"):
        Prefixes((2,), (1.0,))


@pytest.mark.parametrize("name", ["relative_teacher", "hard_darkrank", "similarity_kl", "rkd_angle"])
def test_a_relational_loss_sees_every_normalised_length(name: str) -> None:
    term, _ = term_of({"losses": [name]})
    step, loss = a_step(), build_loss(name)
    taught = step.taught["main"]["embedding"].double()

    def of(dim: int) -> float:
        rows = torch.from_numpy(unit(double(step.outputs["embedding"])[:, :dim]))
        return float(loss(rows, taught))

    assert term(step).item() == pytest.approx(at_every_length(of), rel=1e-4)
    assert not list(term.parameters())


@pytest.mark.parametrize("name", ["absolute_teacher", "fitnet", "contextual_similarity"])
def test_one_matrix_brings_every_length_into_the_teachers_space(name: str) -> None:
    term, _ = term_of({"losses": [name]})
    assert isinstance(term, DistillationTerm)
    assert isinstance(term.projection, Projection)
    nn.init.normal_(term.projection.linear.weight)
    step = a_step()
    w, taught = double(term.projection.linear.weight), double(step.taught["main"]["embedding"])

    def of(dim: int) -> float:
        mapped = unit(unit(double(step.outputs["embedding"])[:, :dim]) @ w[:, :dim].T)
        lengths = np.linalg.norm(mapped - taught, axis=1)
        if name != "contextual_similarity":
            return float((lengths if name == "absolute_teacher" else lengths**2).mean())
        given, own = taught @ taught.T / 0.01, mapped @ taught.T
        p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (given, own))
        return float((p * (np.log(p) - np.log(q))).sum(1).mean())

    assert term(step).item() == pytest.approx(at_every_length(of), rel=1e-4)


def test_a_loss_on_labels_has_a_part_of_its_own_for_every_length() -> None:
    term, _ = term_of({"supervised": ["proxy_anchor"], "losses": [], "teachers": {}})
    assert isinstance(term, SupervisedTerm)
    parts = [term.loss, *term.nested]
    assert [tuple(next(part.parameters()).shape) for part in parts] == [(4, 8), (4, 2), (4, 5)]
    step = a_step()
    by_dim = dict(zip((8, 2, 5), parts, strict=True))

    def of(dim: int) -> float:
        rows = torch.from_numpy(unit(double(step.outputs["embedding"])[:, :dim]))
        return float(by_dim[dim].double()(rows, step.labels).detach())

    value = term(step).item()
    assert value == pytest.approx(at_every_length(of), rel=1e-4)


def test_l_softmax_takes_prefixes_as_they_are() -> None:
    term, _ = term_of({"supervised": ["l_softmax"], "losses": [], "teachers": {}})
    assert isinstance(term, SupervisedTerm)
    step = a_step()
    by_dim = dict(zip((8, 2, 5), (term.loss, *term.nested), strict=True))
    expected = at_every_length(lambda dim: by_dim[dim](step.outputs["raw"][:, :dim], step.labels).item())
    assert term(step).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "soft_target"])
def test_logits_of_a_length_come_from_the_first_columns_of_the_classifier(name: str) -> None:
    key = "supervised" if name == "cross_entropy" else "losses"
    term, classifier = term_of({"losses": [], key: [name]})
    assert classifier is not None
    assert not list(term.parameters())
    step = a_step(classifier)
    w, b, raw = double(classifier.weight), double(classifier.bias), double(step.outputs["raw"])
    given = double(step.taught["main"]["logits"])

    def log_softmax(x: np.ndarray) -> np.ndarray:
        shifted: np.ndarray = x - np.log(np.exp(x).sum(1, keepdims=True))
        return shifted

    def of(dim: int) -> float:
        logits = raw[:, :dim] @ w[:, :dim].T + b
        if name == "cross_entropy":
            return float(-log_softmax(logits)[np.arange(ROWS), step.labels.numpy()].mean())
        p = np.exp(log_softmax(given / 4))
        return float((p * (np.log(p) - log_softmax(logits / 4))).sum(1).mean())

    value = term(step)
    assert value.item() == pytest.approx(at_every_length(of), rel=1e-4)
    value.backward()
    assert classifier.weight.grad is not None


def test_the_heads_of_s2sd_teach_every_length() -> None:
    """The objective is linear in the lengths: its mean over terms that know one length each."""
    s2sd = {"losses": [], "teachers": {}, "s2sd": {"variant": "msdf", "dims": [6, 10], "delay": 0}}
    term, _ = term_of(s2sd)
    step = a_step()
    term.set_step(0)

    def of(dim: int) -> float:
        alone, _ = term_of(s2sd, student(dim=dim, prefixes=[], prefix_weights=None))
        alone.load_state_dict({k: v for k, v in term.state_dict().items() if k.startswith("heads")})
        alone.set_step(0)
        rows = nn.functional.normalize(step.outputs["embedding"][:, :dim], dim=1)
        return float(alone(Step(0, {**step.outputs, "embedding": rows}, {}, step.labels)).detach())

    assert term(step).item() == pytest.approx(at_every_length(of), rel=1e-4)


def test_random_losses_draw_anew_for_every_length() -> None:
    loss = {"name": "interpolated", "args": {"loss": "relative_teacher", "mixes": 2.0}}
    term, _ = term_of({"losses": [loss]})
    step = a_step()
    first, again, other = (term(a_step(number=number)).item() for number in (0, 0, 1))
    assert first == again != other
    term(step)
    assert len(step.draws.all()) == 3


def test_interpolated_absolute_vectors_are_projected_too() -> None:
    term, _ = term_of({"losses": [{"name": "interpolated", "args": {"loss": "absolute_teacher"}}]})
    assert isinstance(term, DistillationTerm)
    assert isinstance(term.projection, Projection)
    assert bool(term(a_step()).isfinite())


@pytest.fixture
def drawn(settings: Settings, taught: Path) -> Callable[..., Plan]:
    def draw(**more: Any) -> Plan:
        more = {"teachers": {"main": str(taught / "teacher" / "model")}, **more}
        config: RunConfig = parse(RunConfig, settings(**more), where="test")
        return draw_up(config, Workshop())

    return draw


def test_a_compatible_student_owns_the_projection_that_its_losses_train(drawn: Callable[..., Plan]) -> None:
    plan = drawn(compatible=True, losses=["default", "contextual_similarity"], supervised=[])
    assert plan.student.space is not None
    assert (plan.student.space.dim, plan.student.space.normalize) == (12, True)
    assert [term.name for term in plan.terms] == [
        "similarity_kl",
        "absolute_teacher",
        "contextual_similarity",
    ]
    assert not any(list(term.parameters()) for term in plan.terms)
    assert plan.student.projection is not None
    kl, absolute, contextual = plan.terms
    for term, trains in ((kl, False), (absolute, True), (contextual, True)):
        plan.student.projection.zero_grad()
        term(a_step()).backward()
        assert (plan.student.projection.linear.weight.grad is not None) == trains


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"losses": ["pkt"]}, "none of the losses brings the student into the space of the teacher 'main'"),
        ({"losses": ["pkt", "fitnet"], "compatible": "mian"}, "unknown teacher 'mian': did you mean 'main'"),
        ({"teachers": {}, "losses": []}, "`compatible` needs a teacher into whose space to project"),
        (
            {"teachers": {"a": "timm:smallconv_8", "b": "timm:smallconv_8"}, "losses": []},
            "`compatible` must say into which teacher's space to project: a, b",
        ),
    ],
)
def test_what_cannot_be_compatible_is_one_sentence(
    drawn: Callable[..., Plan], value: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        drawn(**{"compatible": True, **value})
    assert "\n" not in str(caught.value)


def test_a_gallery_of_training_images_takes_the_place_of_the_batch(settings: Settings, taught: Path) -> None:
    """Sixteen of the teacher's clean vectors, none of them trained or kept."""
    from understudy.models import load
    from understudy.training.assemble import assemble
    from understudy.training.progress import Reporter

    reference = taught / "teacher" / "model"
    loss = {"name": "contextual_similarity", "gallery": 16, "args": {"neighbours": 9}}
    value = settings(teachers={"main": str(reference)}, losses=[loss], supervised=[], compatible=True)
    parts = assemble(parse(RunConfig, value, where="test"), Workshop(), Reporter(quiet=True))
    (term,) = parts.task.loss_terms()
    assert isinstance(term, DistillationTerm)
    assert term.hung is not None
    files = [str(path) for path in sorted((taught / "images").rglob("*.png"))]
    every = load(reference).encode(files)
    near = (every @ double(term.hung).T).argmax(0)
    np.testing.assert_allclose(every[near], double(term.hung), atol=1e-5)
    assert len(set(near.tolist())) == 16
    assert not any("hung" in key for key in term.state_dict())

    batch = next(parts.batches(0))
    with torch.no_grad():
        value_of = float(parts.task(batch)["contextual_similarity"])
        projected = double(parts.task.student(parts.task.student.prepare(batch.items))["projected"])
        taught_by = double(load(reference).embed(parts.task.student.prepare(batch.items)))
    gallery = double(term.hung)
    expected = 0.0
    for s, t in zip(projected, taught_by, strict=True):
        best = np.argsort(-(gallery @ t))[:9]
        given, own = (gallery[best] @ t) / 0.01, gallery[best] @ s
        p, q = (np.exp(x - x.max()) / np.exp(x - x.max()).sum() for x in (given, own))
        expected += float((p * (np.log(p) - np.log(q))).sum()) / len(projected)
    assert value_of == pytest.approx(expected, rel=1e-2)


def test_a_gallery_for_a_loss_that_takes_none_is_refused() -> None:
    with pytest.raises(UserError, match="the loss 'pkt' takes no gallery: leave its `gallery` out"):
        term_of({"losses": [{"name": "pkt", "gallery": 10}]})
