"""From a configuration to the parts of the loss: what fits is built, what nobody can supply is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from understudy.config import RunConfig, parse
from understudy.errors import UserError
from understudy.losses import default_weight
from understudy.losses.presets import PRESETS, preset
from understudy.models import Embedder, build_embedder, load, save_artefact
from understudy.teachers import LiveTeacher, Teacher
from understudy.training.objective.build_terms import build_terms
from understudy.training.objective.step import Step
from understudy.training.objective.terms import DistillationTerm, MapsTerm, SupervisedTerm, Term
from understudy.training.plan import Plan, draw_up
from understudy.training.run import execute
from understudy.training.workshop import Workshop

Settings = Callable[..., dict[str, Any]]
CLASSES = tuple(f"class{number:02d}" for number in range(8))


def config(value: dict[str, Any]) -> RunConfig:
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


@pytest.fixture
def drawn(settings: Settings, taught: Path) -> Callable[..., Plan]:
    """The plan of a run with the shared teacher."""

    def draw(**more: Any) -> Plan:
        more = {"teachers": {"main": str(taught / "teacher" / "model")}, **more}
        return draw_up(config(settings(**more)), Workshop())

    return draw


class Table:
    """A teacher that has nothing but embeddings, as stored vectors are."""

    name, dim, classes, view = "stored vectors", 12, None, "clean"
    supplies, queries = frozenset({"embedding"}), 0

    def outputs(self, items: Any) -> Any:
        return {"embedding": torch.ones(len(items.rows), self.dim)}

    def embed(self, items: Any) -> torch.Tensor:
        return torch.ones(len(items.rows), self.dim)

    def to(self, device: Any) -> Table:
        return self


def plain(dim: int = 12) -> Embedder:
    torch.manual_seed(0)
    return build_embedder({"backbone": "smallconv_8", "dim": dim, "input_size": [16, 16]})


def terms(teacher: Teacher | None = None, **value: Any) -> list[Term]:
    value = {"teachers": {"main": "any"}, "supervised": [], "student": "smallconv_8", **value}
    parsed = config(value)
    teachers = {"main": teacher or LiveTeacher(plain())}
    return build_terms(parsed, parsed.supervised or (), plain(8), teachers, CLASSES)[0]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (
            {"losses": ["soft_target"]},
            r"needs the teacher's logits, and the teacher 'main' \(smallconv_8\) supplies only embedding, ",
        ),
        ({"losses": ["hard_darkrnk"]}, "no loss named 'hard_darkrnk': did you mean 'hard_darkrank'"),
        ({"supervised": ["multi_similarty"]}, "no loss named 'multi_similarty': did you mean"),
        ({"losses": [{"name": "hard_darkrank", "args": {"alfa": 3}}]}, "'hard_darkrank'.*'alfa'.*'alpha'"),
        ({"losses": [{"name": "hard_darkrank", "args": {"alpha": -3}}]}, "hard_darkrank.*alpha.*-3"),
        ({"losses": ["triplet"]}, "'triplet' is a loss on labels: put it under `supervised`"),
        ({"losses": ["pml:AngularLoss"]}, "'pml:AngularLoss' is a loss on labels: put it under"),
        ({"supervised": ["pml:AngularLos"]}, "AngularLos.*did you mean.*AngularLoss"),
        ({"supervised": ["pkt"]}, "'pkt' learns from a teacher: put it under `losses`"),
        ({"losses": ["hint"]}, "'hint' compares feature maps: set its `maps` to"),
        (
            {"losses": [{"name": "similarity_kl", "maps": ["nope", "nada"]}]},
            "'similarity_kl' compares no feature maps: leave its `maps` out",
        ),
        ({"losses": [{"name": "similarity_k", "maps": ["a", "b"]}]}, "did you mean 'similarity_kl'"),
        (
            {"losses": [{"name": "hint", "maps": ["layers.9", "layers.1"]}]},
            r"no layer of 'smallconv_8' named 'layers\.9': did you mean 'layers\.",
        ),
        (
            {"losses": [{"name": "hint", "maps": ["layers.1", "nonsense"]}]},
            "no layer of 'smallconv_8' named 'nonsense': known are layers",
        ),
        ({"losses": []}, "there is nothing to learn from"),
        ({"s2sd": {"base": "cross_entropy"}}, "s2sd.base 'cross_entropy' is not a supervised loss on emb"),
        ({"s2sd": {"base": "margn"}}, "no loss named 'margn': did you mean 'margin'"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(value: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        terms(**value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "wanted"),
    [
        ({"name": "soft_target"}, "logits"),
        ({"name": "hint", "maps": ["layers.1", "layers.1"]}, "maps"),
        ({"name": "attention_transfer", "maps": ["layers.1", "layers.1"]}, "maps"),
    ],
)
def test_a_table_has_neither_logits_nor_maps(loss: dict[str, Any], wanted: str) -> None:
    sentence = (
        f"the loss '{loss['name']}' needs the teacher's {wanted}, and the teacher 'main' .stored vectors."
    )
    with pytest.raises(UserError, match=sentence):
        terms(Table(), losses=[loss])  # type: ignore[arg-type]


def test_losses_on_labels_without_labels_are_refused_by_name(
    drawn: Callable[..., Plan], taught: Path
) -> None:
    unlabelled = {"source": str(taught / "images"), "label_fraction": 0.0}
    for supervised, sentence in (
        (["proxy_anchor"], "the loss 'proxy_anchor' needs labels and no training image has one"),
        ([], "a loss on logits needs classes and no training image has a label"),
    ):
        with pytest.raises(UserError, match=sentence):
            drawn(data=unlabelled, supervised=supervised, losses=["soft_target"])
    with pytest.raises(UserError, match="S2SD needs labels"):
        drawn(data=unlabelled, s2sd={})


def test_losses_of_one_name_get_columns_of_their_own() -> None:
    built = terms(losses=["pkt", {"name": "pkt", "weight": 3.0}, "rkd_angle"])
    assert [(term.name, term.weight) for term in built] == [
        ("pkt.0", default_weight("pkt", nn.Identity())),
        ("pkt.1", 3.0),
        ("rkd_angle", default_weight("rkd_angle", nn.Identity())),
    ]


def test_a_projection_stands_between_unequal_dimensions_only() -> None:
    (unequal,) = terms(losses=["absolute_teacher"])
    (equal,) = terms(LiveTeacher(plain(8)), losses=["absolute_teacher"])
    (relational,) = terms(losses=["pkt"])
    assert isinstance(unequal, DistillationTerm)
    assert isinstance(equal, DistillationTerm)
    assert isinstance(relational, DistillationTerm)
    assert unequal.projection is not None
    assert unequal.projection(torch.randn(3, 8)).shape == (3, 12)
    assert equal.projection is None
    assert relational.projection is None


def test_default_weights_are_those_of_the_batches_there_are(drawn: Callable[..., Plan]) -> None:
    """128 images are configured; six classes of four make 24, and without labels there are 36 images."""
    for supervised, size in ((None, 24), ([], 36)):
        plan = drawn(losses=["hard_darkrank"], supervised=supervised)
        term = plan.terms[-1]
        assert isinstance(term, DistillationTerm)
        assert plan.sampler.batch_size == size
        assert term.weight == default_weight("hard_darkrank", term.loss, batch_size=size)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("darkrank")])
def test_a_preset_trains_and_its_model_knows_the_classes(
    settings: Settings, taught: Path, tmp_path: Path, name: str
) -> None:
    """l_softmax works on ``raw``, and its class weights make the model a teacher of logits."""
    teachers = {"main": str(taught / "teacher" / "model")}
    value = settings(teachers=teachers, **preset(name), sampler={"kind": "random_pairs", "batch_size": 8})
    plan = draw_up(config(value), Workshop())
    first = plan.terms[0]
    assert isinstance(first, SupervisedTerm)
    assert (first.name, first.source) == ("l_softmax", "raw")
    assert [tuple(p.shape) for p in first.loss.parameters()] == [(6, 8)]
    run = execute(config({**value, "steps": 2}), tmp_path / "run")
    logged = (run.path / "metrics.jsonl").read_text()
    assert all(f'"{loss["name"]}"' in logged for group in preset(name).values() for loss in group)
    assert run.model.classes == plan.classes
    assert LiveTeacher(run.model).supplies >= {"logits"}
    outputs = run.model(torch.zeros(1, 1, 16, 16))
    assert run.model.classifier is not None
    torch.testing.assert_close(outputs["logits"], outputs["raw"] @ run.model.classifier.weight.T)
    short = config(settings(teachers=teachers, preset=name))
    assert [loss.name for loss in short.supervised or ()] == [t["name"] for t in preset(name)["supervised"]]


def test_the_class_weights_of_l_softmax_are_the_trained_ones(settings: Settings, tmp_path: Path) -> None:
    value = settings(supervised=["l_softmax"], steps=3, optim={"lr": 0.01})
    run = execute(config(value), tmp_path / "run")
    state = torch.load(next((run.path / "checkpoints").iterdir()), weights_only=True)["loop"]["task"]
    assert run.model.classifier is not None
    assert torch.equal(run.model.classifier.weight, state["terms.0.loss.weight"])
    assert not run.model.classifier.bias.any()


def test_a_classifier_makes_a_teacher_of_soft_targets(
    settings: Settings, taught: Path, tmp_path: Path
) -> None:
    """Trained with cross-entropy, the artefact keeps classifier and classes, and a student can copy them."""
    teacher = load(taught / "teacher" / "model")
    assert teacher.classes is not None
    assert len(teacher.classes) == 6
    value = settings(
        teachers={"main": str(taught / "teacher" / "model")}, losses=["soft_target"], supervised=[], steps=6
    )
    run = execute(config({**value, "log_every": 1, "optim": {"lr": 0.05}}), tmp_path / "run")
    assert run.model.classes == teacher.classes
    card = (run.path / "model" / "README.md").read_text()
    assert "| classifier | 6 classes; not used by `encode` |" in card
    assert run.model.encode([next((taught / "images" / "class00").iterdir())]).shape == (1, 8)


def with_classes(teacher: Embedder, names: list[str], place: Path) -> str:
    """The teacher, whose classes are saved in another order or not all of them."""
    assert teacher.classes is not None
    assert teacher.classifier is not None
    rows = [teacher.classes.index(name) for name in names]
    changed = nn.Linear(teacher.dim, len(names))
    changed.load_state_dict(
        {"weight": teacher.classifier.weight[rows], "bias": teacher.classifier.bias[rows]}
    )
    teacher.classifier, teacher.classes = changed, tuple(names)
    return str(save_artefact(teacher, place))


def test_classes_in_another_order_are_put_in_order(
    drawn: Callable[..., Plan], taught: Path, tmp_path: Path
) -> None:
    original = str(taught / "teacher" / "model")
    names = list(load(original).classes or ())
    changed = with_classes(load(original), names[::-1], tmp_path / "reversed")
    images, values = torch.randn(6, 1, 16, 16), []
    for reference in (original, changed):
        plan = drawn(teachers={"main": reference}, losses=["soft_target"], supervised=[])
        (term,) = plan.terms
        teacher = load(reference)
        with torch.no_grad():
            logits = torch.linspace(-1, 1, 36).view(6, 6)
            step = Step(0, {"logits": logits}, {"main": teacher(images)}, torch.zeros(6))
            values.append(float(term(step)))
            given = teacher(images)["logits"]
        if reference == original:
            expected = nn.functional.kl_div(
                (logits / 4).log_softmax(1), (given / 4).softmax(1), reduction="batchmean"
            )
    assert values == pytest.approx([float(expected)] * 2, rel=1e-5)


def test_a_class_the_teacher_does_not_know_is_refused(
    drawn: Callable[..., Plan], taught: Path, tmp_path: Path
) -> None:
    teacher = load(taught / "teacher" / "model")
    names = list(teacher.classes or ())
    changed = with_classes(teacher, names[1:], tmp_path / "fewer")
    sentence = (
        rf"'soft_target' compares class logits, and .* has no class '{names[0]}' \(1 of 6 training classes"
    )
    with pytest.raises(UserError, match=sentence):
        drawn(teachers={"main": changed}, losses=["soft_target"])


@pytest.mark.parametrize("name", ["hint", "attention_transfer"])
@pytest.mark.parametrize("layer", ["layers.2", "features"])
def test_maps_are_compared(
    settings: Settings, taught: Path, tmp_path: Path, name: str, layer: str, drawn: Callable[..., Plan]
) -> None:
    loss = {"name": name, "maps": [layer, "layers.3"], "weight": 0.5}
    plan = drawn(losses=[loss], supervised=[])
    (term,) = plan.terms
    assert isinstance(term, MapsTerm)
    images = torch.randn(4, 1, 16, 16)
    teacher = plan.teachers["main"]
    assert isinstance(teacher, LiveTeacher)
    mine, theirs = plan.student.eval()(images), teacher.model(images)
    value = term(Step(0, mine, {"main": theirs}, torch.zeros(4))).item()
    assert value == pytest.approx(term.loss(mine["maps"][layer], theirs["maps"]["layers.3"]).item())
    assert value > 0

    run = execute(
        config(settings(teachers={"main": str(taught / "teacher" / "model")}, losses=[loss])),
        tmp_path / "run",
    )
    assert f'"{name}"' in (run.path / "metrics.jsonl").read_text()
    assert not any("regressor" in key for key in run.model.state_dict())
    assert "maps" not in run.model(images)


def test_a_teacher_that_was_asked_for_maps_gives_none_to_the_next_run(
    settings: Settings, taught: Path
) -> None:
    workshop = Workshop()
    shared = settings(teachers={"main": str(taught / "teacher" / "model")})
    first = draw_up(config({**shared, "losses": [{"name": "hint", "maps": ["layers.1"] * 2}]}), workshop)
    teacher = first.teachers["main"]
    assert isinstance(teacher, LiveTeacher)
    assert "maps" in teacher.model(torch.zeros(1, 1, 16, 16))
    draw_up(config({**shared, "losses": ["pkt"]}), workshop)
    assert "maps" not in teacher.model(torch.zeros(1, 1, 16, 16))
