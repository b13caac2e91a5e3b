from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from understudy.data.items import Items, View
from understudy.errors import UserError
from understudy.models import Outputs, build_embedder, save_artefact
from understudy.teachers import LiveTeacher, Teacher, open_teacher


@pytest.fixture
def items() -> Items:
    return Items(torch.arange(3), torch.randint(0, 256, (3, 3, 70, 70), dtype=torch.uint8))


def opened(reference: str | Path) -> LiveTeacher:
    teacher = open_teacher(reference)
    assert isinstance(teacher, LiveTeacher)
    return teacher


@pytest.mark.parametrize("name", ["net.safetensors", "net+1 %20.pth"])
def test_a_timm_model_with_a_local_file(tmp_path: Path, items: Items, name: str) -> None:
    network = timm.create_model("test_resnet", num_classes=5).eval()
    file = tmp_path / name
    state = network.state_dict()
    save_file(state, file) if name.endswith("safetensors") else torch.save(state, file)
    teacher = opened(
        f"timm:test_resnet?weights={file}&input_size=64x48&mean=0.1,0.2,0.3&mode=squash&normalize=false"
    )
    pre = teacher.model.preprocessing
    assert (pre.size, pre.mean, pre.mode) == ((64, 48), (0.1, 0.2, 0.3), "squash")
    x = teacher.model.prepare(items)
    with torch.no_grad():
        features = network.forward_head(network.forward_features(x), pre_logits=True)
    torch.testing.assert_close(teacher.embed(items), features)
    assert teacher.name == "test_resnet"


def test_settings_of_a_reference() -> None:
    teacher = opened(
        "timm:mobilenetv3_small_050?weights=random&pooling=gem&dim=32&input_size=64x64&resize=72x72"
    )
    config = teacher.model.config
    assert (config.pooling, config.dim, config.weights, config.resize) == ("gem", 32, None, (72, 72))


def test_a_saved_model_by_its_directory(tmp_path: Path, items: Items) -> None:
    model = build_embedder({"backbone": "smallconv_8", "dim": 4}, classes=["a", "b"]).eval()
    place = save_artefact(model, tmp_path / "my teacher")
    for reference in (place, str(place)):
        teacher = open_teacher(reference)
        assert teacher.name == "my teacher"
        assert teacher.classes == ("a", "b")
        with torch.no_grad():
            torch.testing.assert_close(teacher.embed(items), model.embed(model.prepare(items)))


def test_a_model_or_a_teacher_is_taken_as_it_is(items: Items) -> None:
    class Constant:
        name, dim, classes, device = "constant", 1, None, "?"
        view: View = "clean"
        supplies, queries = frozenset({"embedding"}), 0

        def outputs(self, items: Items) -> Outputs:
            return {"embedding": torch.ones(len(items), 1)}

        def embed(self, items: Items) -> Tensor:
            return self.outputs(items)["embedding"]

        def to(self, device: torch.device | str) -> Constant:
            self.device = str(device)
            return self

    constant = Constant()
    assert open_teacher(constant, device="cpu") is constant
    assert constant.device == "cpu"
    model = build_embedder("smallconv_8")
    teacher = open_teacher(model)
    assert isinstance(teacher, LiveTeacher)
    assert teacher.model is model
    assert not model.training


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("onnx:a.onnx", r"there is no ONNX file 'a\.onnx': check its place"),
        ("table:vectors", "there is no embedding table at 'vectors'"),
        ("table:", "names no table: write table:DIR"),
        ("python:package.module:factory", "the module 'package.module' cannot be imported"),
        ("python:factory", "names no factory: write python:module:factory"),
        ("python:operator:nothing", "'operator' has no function 'nothing'"),
        ("python:no/such.py:factory", "there is no file 'no/such.py'"),
        ("hf:org/name", "no teachers of kind 'hf:': write python:module:factory around a transformers model"),
        ("openclip:ViT-B-32", "no teachers of kind 'openclip:': write python:module:factory"),
        ("tim:resnet50", r"there is no kind of teacher named 'tim': did you mean 'timm'\?"),
        ("no/such/directory", "there is no model directory 'no/such/directory'"),
        ("timm:", "names no model: write timm:NAME"),
        ("timm:resnet5O?weights=random", r"no backbone named 'resnet5O': did you mean"),
        ("timm:resnet50?weight=a.pth", r"has no setting 'weight': did you mean 'weights'\?"),
        ("timm:resnet50?backbone=nin_bn", "has no setting 'backbone'"),
        ("timm:resnet50?random", "'random' is no setting, write key=value"),
        ("timm:resnet50?weights=no.pth", "there is no weights file 'no.pth'"),
        ("timm:resnet50?weights=random&input_size=64", "input_size = "),
        ("timm:resnet50?weights=random&pooling=mean", "pooling = 'mean' does not fit"),
        ("timm:nin_bn", "has no weights to download: pass weights=FILE"),
    ],
)
def test_a_wrong_reference_is_said_in_one_sentence(reference: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_teacher(reference)


def test_what_is_no_reference_is_refused() -> None:
    with pytest.raises(UserError, match="a Linear is no teacher: pass timm:NAME"):
        open_teacher(torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_protocol_is_all_a_caller_needs() -> None:
    teacher: Teacher = open_teacher("timm:smallconv_8?weights=random")
    assert (teacher.dim, teacher.view, teacher.classes) == (16, "same", None)
