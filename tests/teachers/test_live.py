from __future__ import annotations

import copy
from typing import Self

import pytest
import torch
from torch import Tensor, nn

from understudy.data.augmentation import Augmentation
from understudy.data.items import Items, View
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.models import Embedder, build_embedder
from understudy.models.outputs import Outputs
from understudy.teachers import LiveTeacher, Teacher


@pytest.fixture
def model() -> Embedder:
    torch.manual_seed(0)
    return build_embedder({"backbone": "smallconv_8", "dim": 12}, classes=["a", "b"])


@pytest.fixture
def items() -> Items:
    content = torch.randint(0, 256, (6, 3, 50, 60), dtype=torch.uint8)
    rows = torch.arange(6)
    return Items(rows, content, Views(Augmentation(flip=0.5, rotate=10), 0, rows, rows))


def test_it_is_asked_and_never_trained(model: Embedder, items: Items) -> None:
    model.train()
    teacher = LiveTeacher(model)
    before = copy.deepcopy(model.state_dict())
    for attempt in (lambda: None, teacher.train, model.train):
        attempt()
        first, second = teacher.outputs(items), teacher.embed(items)
        assert not any(m.training for m in model.modules())
        torch.testing.assert_close(first["embedding"], second, rtol=0, atol=0)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())


def test_its_outputs_are_constants_that_a_loss_may_use(model: Embedder, items: Items) -> None:
    outputs = LiveTeacher(model).outputs(items)
    student = torch.randn(6, 12, requires_grad=True)
    assert not any(t.requires_grad for t in outputs.values() if isinstance(t, Tensor))
    torch.autograd.backward(
        (student * outputs["embedding"]).sum()
    )  # tensors of inference mode would refuse this
    assert torch.equal(student.grad, outputs["embedding"])  # type: ignore[arg-type]
    assert torch.is_grad_enabled()


def test_it_renders_with_its_own_preprocessing(model: Embedder, items: Items) -> None:
    teacher = LiveTeacher(model)
    torch.testing.assert_close(teacher.embed(items), model.embed(model.prepare(items)))
    clean = teacher.embed(items.seen("clean"))
    assert not torch.allclose(clean, teacher.embed(items))


def test_a_task_that_holds_one_neither_trains_nor_saves_it(model: Embedder) -> None:
    class Task(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.Linear(1, 1)
            self.teachers = {"main": LiveTeacher(model)}
            self.teacher = self.teachers["main"]

    task = Task().train()
    assert list(task.state_dict()) == ["student.weight", "student.bias"]
    assert sum(p.numel() for p in task.parameters()) == 2
    assert not model.training


def test_it_says_what_it_supplies(model: Embedder, items: Items) -> None:
    with_classes, without = LiveTeacher(model), LiveTeacher(build_embedder("smallconv_8"), name="plain")
    assert with_classes.supplies == {"embedding", "raw", "pooled", "logits", "maps"}
    assert without.supplies == {"embedding", "raw", "pooled", "maps"}
    assert (with_classes.name, without.name) == ("smallconv_8", "plain")
    assert (with_classes.classes, without.classes) == (("a", "b"), None)
    assert (with_classes.dim, without.dim) == (12, 16)
    assert with_classes.view == "same"
    with_classes.request_maps(["layers.4"])
    outputs = with_classes.outputs(items)
    assert set(outputs) == with_classes.supplies
    assert outputs["maps"]["layers.4"].shape == (6, 16, 5, 5)


def test_mixed_precision_is_left_to_the_caller(model: Embedder, items: Items) -> None:
    teacher = LiveTeacher(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher.outputs(items)["raw"].dtype == torch.bfloat16
    assert teacher.outputs(items)["raw"].dtype == torch.float32


def test_texts_are_refused(model: Embedder) -> None:
    with pytest.raises(UserError, match="embeds images: the items given are texts"):
        LiveTeacher(model).embed(Items(torch.arange(1), ["a word"]))


class TableTeacher:
    """Stored vectors by row, as a table or a black box gives them: no image is ever looked at."""

    name, classes = "table", None
    view: View = "clean"
    supplies, queries = frozenset({"embedding"}), 0

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self.dim = vectors.shape[1]

    def outputs(self, items: Items) -> Outputs:
        return {"embedding": self.vectors[items.rows]}

    def embed(self, items: Items) -> Tensor:
        return self.outputs(items)["embedding"]

    def to(self, device: torch.device | str) -> Self:
        self.vectors = self.vectors.to(device)
        return self


class CallableTeacher(TableTeacher):
    """A function of the items' content, whatever that is: here the lengths of texts."""

    name = "callable"

    def outputs(self, items: Items) -> Outputs:
        return {"embedding": torch.tensor([[float(len(text))] for text in items.content])}


def two_teachers(a: Teacher, b: Teacher, items: Items) -> list[tuple[int, ...]]:
    return [tuple(teacher.embed(items).shape) for teacher in (a, b)]


def test_tables_and_callables_fit_the_protocol() -> None:
    table = TableTeacher(torch.eye(9))
    function = CallableTeacher(torch.zeros(1, 1))
    items = Items(torch.tensor([7, 2]), ["seven", "two"])
    assert isinstance(table, Teacher)
    assert isinstance(function, Teacher)
    assert two_teachers(table, function, items) == [(2, 9), (2, 1)]
    assert table.embed(items).argmax(1).tolist() == [7, 2]
    assert function.embed(items).tolist() == [[5.0], [3.0]]


def test_what_is_no_teacher_does_not_pass_for_one(model: Embedder) -> None:
    assert isinstance(LiveTeacher(model), Teacher)
    others: list[object] = [model, nn.Linear(1, 1), "timm:resnet50"]
    assert not any(isinstance(other, Teacher) for other in others)
