"""Any function of images as a teacher: what it is shown, what it may answer, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from understudy.data.augmentation import Augmentation
from understudy.data.items import Items
from understudy.data.preprocessing import Preprocessing
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.teachers import CallableTeacher, Teacher, open_teacher

SMALL = Preprocessing(size=(4, 4), resize=(4, 4), mean=(0.5,) * 3, std=(0.5,) * 3)


def images(count: int = 3, channels: int = 3, views: Views | None = None) -> Items:
    generator = torch.Generator().manual_seed(1)
    content = torch.randint(0, 256, (count, channels, 8, 8), generator=generator, dtype=torch.uint8)
    return Items(torch.arange(count), content, views)


class Function:
    """Remembers what it was given."""

    input_size = (8, 8)

    def __init__(self, answer: Any = None, **attributes: Any) -> None:
        self.given: list[Any] = []
        self._answer = answer
        for name, value in attributes.items():
            setattr(self, name, value)

    def __call__(self, given: Any) -> Any:
        self.given.append(given)
        return np.ones((len(given), 5)) if self._answer is None else self._answer


def test_it_is_shown_pil_images() -> None:
    function = Function()
    items = images()
    CallableTeacher(function).embed(items)
    assert all(isinstance(one, Image.Image) and one.mode == "RGB" for one in function.given[0])
    shown = np.stack([np.asarray(one) for one in function.given[0]])
    np.testing.assert_array_equal(shown, items.content.permute(0, 2, 3, 1).numpy())


def test_grey_images_become_rgb_and_the_size_is_its_own() -> None:
    function = Function(input_size=(6, 10))
    CallableTeacher(function).embed(images(channels=1))
    assert {(one.mode, one.size) for one in function.given[0]} == {("RGB", (10, 6))}


def test_it_is_shown_the_view_that_is_asked_about() -> None:
    function = Function()
    rows, flip = torch.arange(3), Augmentation(flip=1.0)
    items = images(views=Views(flip, 0, rows, torch.zeros(3, dtype=torch.int64)))
    CallableTeacher(function).embed(items)
    shown = np.stack([np.asarray(one) for one in function.given[0]])
    np.testing.assert_array_equal(shown, items.content.flip(3).permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("said", [SMALL, SMALL.model_dump()])
def test_with_a_preprocessing_it_is_shown_a_tensor(said: Any) -> None:
    function = Function(preprocessing=said)
    CallableTeacher(function).embed(images())
    (shown,) = function.given
    assert isinstance(shown, Tensor)
    assert (tuple(shown.shape), shown.dtype) == ((3, 3, 4, 4), torch.float32)
    assert shown.min() < -0.5


@pytest.mark.parametrize(
    "answer",
    [
        [[1, 2], [3, 4], [5, 6]],
        np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float64),
        torch.tensor([[1, 2], [3, 4], [5, 6]], dtype=torch.float16),
        torch.tensor([[1.0, 2], [3, 4], [5, 6]])[:, :, None, None],
        [torch.tensor([1.0, 2]), torch.tensor([3.0, 4]), torch.tensor([5.0, 6])],
        {"embedding": [[1, 2], [3, 4], [5, 6]]},
    ],
)
def test_it_may_answer_with_any_matrix(answer: Any) -> None:
    given = CallableTeacher(Function(answer, dim=2)).embed(images())
    assert given.dtype == torch.float32
    assert given.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_logits_come_with_classes() -> None:
    answer = {"embedding": [[1.0]] * 3, "logits": [[0.0, 2.0]] * 3}
    teacher = CallableTeacher(Function(answer, classes=["owl", "wren"], dim=1))
    assert teacher.supplies == {"embedding", "logits"}
    assert teacher.outputs(images())["logits"].tolist() == [[0.0, 2.0]] * 3


def test_the_dimension_costs_one_question_unless_it_is_said() -> None:
    silent, said = CallableTeacher(Function()), CallableTeacher(Function(dim=5))
    assert (silent.dim, silent.dim, silent.queries) == (5, 5, 1)
    assert (said.dim, said.queries) == (5, 0)
    said.embed(images())
    assert said.queries == 3


def test_what_it_says_about_the_grey_image_need_not_be_of_use() -> None:
    silent = CallableTeacher(lambda images: [[image.getpixel((0, 0))[0] - 127.0, 0.0] for image in images])
    silent.call_images(["a.png"])
    assert silent.dim == 2  # nothing but zeros, and about none of the images
    grey = Items(torch.tensor([0]), torch.full((1, 3, 8, 8), 127, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"nothing but zeros for 1 of 1 images \('a.png'\)"):
        silent.embed(grey)


def test_a_module_is_frozen_and_moved() -> None:
    class Net(nn.Module):
        preprocessing = SMALL

        def __init__(self) -> None:
            super().__init__()
            self.drop, self.linear = nn.Dropout(0.5), nn.Linear(48, 6)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.linear(self.drop(x.flatten(1)))
            return out

    net = Net()
    teacher = CallableTeacher(net).to("cpu")
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    items = images()
    assert not teacher.embed(items).requires_grad
    torch.testing.assert_close(teacher.embed(items), teacher.embed(items))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([[1.0, 2]] * 2, "gave 2 vectors for 3 images"),
        ([[1.0]] * 3, r"gave vectors of 1 numbers from row 0 on and of 2 before"),
        ([[1.0, 2], [float("nan"), 1], [1, 1]], r"gave NaN or infinity for 1 of 3 images \(row 1\)"),
        ([[1.0, 2], [1, 1], [1, float("inf")]], r"NaN or infinity for 1 of 3 images \(row 2\)"),
        ([[0.0, 0]] * 3, r"nothing but zeros for 3 of 3 images \(rows 0, 1, 2\)"),
        ([1.0, 2, 3], r"gave embedding of shape \(3,\): it must give \(images, dimension\)"),
        (torch.ones(3, 2, 4, 4), r"shape \(3, 2, 4, 4\)"),
        ([[1.0], [1, 2], [3, 4]], "gave a list as embedding"),
        ("vectors", "gave a str as embedding"),
        ({"vectors": [[1.0, 2]] * 3}, "gave no embedding: it gave vectors"),
    ],
)
def test_an_answer_that_cannot_be_learnt_from_is_refused(answer: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        CallableTeacher(Function(answer, dim=2), name="api").embed(images())


def test_images_are_called_by_their_names() -> None:
    teacher = CallableTeacher(Function([[1.0], [float("nan")], [1]], dim=1))
    teacher.call_images(["a.png", "b.png", "c.png"])
    with pytest.raises(UserError, match=r"\('b\.png'\)"):
        teacher.embed(images())


def test_a_dimension_that_changes_later_on_is_refused() -> None:
    """It was asked about one grey image, answers twenty times, and then has another model behind it."""
    width = 4

    def api(given: list[Image.Image]) -> list[list[float]]:
        return [[1.0] * width for _ in given]

    teacher = CallableTeacher(api)
    for _ in range(20):
        assert teacher.embed(images()).shape == (3, 4)
    width = 6
    with pytest.raises(UserError, match=r"'api' gave vectors of 6 numbers from row 0 on and of 4 before"):
        teacher.embed(images())


def test_texts_are_not_shown() -> None:
    with pytest.raises(UserError, match="embeds images: the items given are texts"):
        CallableTeacher(Function()).embed(Items(torch.arange(1), ["a word"]))


FACTORY = """
def mean_colour(scale=1.0, name=None, side=8):
    def ask(images):
        return [[scale * image.convert("L").resize((1, 1)).getpixel((0, 0)) + 1.0, 1.0] for image in images]
    ask.input_size = (side, side)
    ask.dim = 2
    return ask

def needs_more(key):
    return len

def gives_a_number():
    return 7

def fails():
    return len(5)

def opens():
    open("/nowhere/key")

def leaves():
    raise SystemExit(3)

def wrong_classes():
    ask = mean_colour()
    ask.classes = 3
    return ask

def one_class():
    ask = mean_colour()
    ask.classes = "owl"
    return ask

def wrong_dim():
    ask = mean_colour()
    ask.dim = "48"
    return ask

def wrong_size():
    def ask(images):
        return images
    ask.input_size = (0, 4)
    return ask
"""


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_teachers.py"
    path.write_text(FACTORY)
    return path


@pytest.mark.parametrize("place", ["my_teachers", "my_teachers.py"])
def test_a_factory_by_its_module_or_file(factory: Path, place: str) -> None:
    teacher: Teacher = open_teacher(f"python:{place}:mean_colour?scale=0.5&side=4")
    assert (teacher.name, teacher.dim, teacher.view) == ("mean_colour", 2, "clean")
    black = Items(torch.tensor([0]), torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    white = Items(torch.tensor([0]), torch.full((1, 3, 8, 8), 254, dtype=torch.uint8))
    assert teacher.embed(black).tolist() == [[1.0, 1.0]]
    assert teacher.embed(white).tolist() == [[128.0, 1.0]]
    assert teacher.queries == 2


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("my_teachers:needs_more", r"could not be made \(TypeError: .*'key'"),
        ("my_teachers:mean_colour?colour=red", "its factory takes other settings"),
        ("my_teachers:gives_a_number", "gave a int: a factory must give a function"),
        ("my_teachers:mean_color", "'my_teachers' has no function 'mean_color'"),
        (
            "my_teachers:fails",
            r"its factory failed \(TypeError: .* has no len\(\), in my_teachers.py:16\): mend",
        ),
        (
            "my_teachers:opens",
            r"failed \(FileNotFoundError: .*'/nowhere/key', in my_teachers.py:19\): mend it",
        ),
        ("my_teachers:leaves", r"failed \(SystemExit: 3, in my_teachers.py:22\): mend it"),
        ("my_teachers:wrong_classes", "'wrong_classes' says that its classes are 3: list their names"),
        ("my_teachers:one_class", "says that its classes are 'owl': list their names"),
        ("my_teachers:wrong_dim", "says that its dim is '48': it must be a whole number from 1"),
        ("my_teachers:wrong_size", r"says something about its images that does not fit \(size\.0"),
    ],
)
def test_a_wrong_factory_is_said(factory: Path, reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_teacher(f"python:{reference}")


ORDINARY = """
from __future__ import annotations
from dataclasses import dataclass
import beside

@dataclass
class Settings:
    dim: int = 4

def api():
    import lazily_beside
    return lambda images: [[beside.ONE + lazily_beside.ONE] * Settings().dim for _ in images]
"""


def test_an_ordinary_file_with_another_beside_it(factory: Path) -> None:
    """It has a dataclass, is called as a module that is installed, and is not where the command runs."""
    place = factory.parent / "of_others"
    place.mkdir()
    for name in ("beside", "lazily_beside"):
        (place / f"{name}.py").write_text("ONE = 1.0")
    (place / "json.py").write_text(ORDINARY)
    path = list(sys.path)
    assert open_teacher("python:of_others/json.py:api").embed(images(1)).tolist() == [[2.0] * 4]
    assert sys.path == path
    assert sys.modules["json"].__file__ != str(place / "json.py")


@pytest.mark.parametrize("suffix", ["", ".py"])
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("broken", "x = 1\ndef api(:", r"SyntaxError: invalid syntax, in broken.py:2\): mend it"),
        ("wants", "\nimport not_installed", r"No module named 'not_installed', in wants.py:2\): mend it"),
        ("divides", "1 / 0", r"ZeroDivisionError: division by zero, in divides.py:1\): mend it"),
        ("leaves", "import sys\nsys.exit(1)", r"SystemExit: 1, in leaves.py:2\): mend it"),
    ],
)
def test_what_cannot_be_imported_is_said(factory: Path, name: str, text: str, said: str, suffix: str) -> None:
    (factory.parent / f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=f"'{name}{suffix}' cannot be imported .*{said}"):
        open_teacher(f"python:{name}{suffix}:api")
    assert not [module for module in sys.modules if name in module and "teacher" in module]


def test_a_function_that_would_end_the_command_is_said() -> None:
    def leave(given: Any) -> Any:
        sys.exit(0)

    with pytest.raises(
        UserError, match=r"'api' ended the process instead of answering \(SystemExit: 0, in test_"
    ):
        CallableTeacher(leave, name="api").embed(images())
