"""ONNX files as teachers: their batch, their size, what they say of themselves, and what they cannot say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from understudy.data.items import Items
from understudy.errors import UserError
from understudy.models import build_embedder
from understudy.teachers import LiveTeacher, OnnxTeacher, open_teacher
from understudy.teachers.identity import identity

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

PLAIN = "mean=0,0,0&std=1,1,1"
MIX = np.arange(1, 13, dtype=np.float32).reshape(3, 4) / 10
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """An ONNX file that gives each image's mean colour times `MIX`, (n, 4), and as ``logits`` the colour."""

    def build(
        shape: Sequence[int | str] = ("n", 3, 8, 8),
        *,
        kind: int = onnx.TensorProto.FLOAT,
        outputs: Sequence[str] = ("vector",),
        metadata: dict[str, Any] | str | None = None,
        nhwc: bool = False,
    ) -> Path:
        helper = onnx.helper
        channels = int(shape[3] if nhwc else shape[1])
        nodes = [
            helper.make_node("Transpose", ["images"], ["first"], perm=[0, 3, 1, 2])
            if nhwc
            else helper.make_node("Identity", ["images"], ["first"]),
            helper.make_node("Cast", ["first"], ["real"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["real", "axes"], ["colour"], keepdims=0),
            helper.make_node("MatMul", ["colour", "mix"], [outputs[0]]),
        ]
        if "logits" in outputs:
            nodes.append(helper.make_node("Identity", ["colour"], ["logits"]))
        widths = {"logits": 3}
        graph = helper.make_graph(
            nodes,
            "mean colours",
            [helper.make_tensor_value_info("images", kind, list(shape))],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [shape[0], widths.get(name, 4)])
                for name in outputs
            ],
            [
                onnx.numpy_helper.from_array(np.resize(MIX, (channels, 4)), "mix"),
                onnx.numpy_helper.from_array(np.array([2, 3], dtype=np.int64), "axes"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 9
        if metadata is not None:
            text = metadata if isinstance(metadata, str) else json.dumps(metadata)
            helper.set_model_props(model, {"understudy": text})
        path = tmp_path / "means.onnx"
        onnx.save(model, path)
        return path

    return build


def images(count: int = 7, size: int = 8) -> Items:
    generator = torch.Generator().manual_seed(0)
    content = torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)
    return Items(torch.arange(count), content)


def expected(items: Items) -> torch.Tensor:
    colours: torch.Tensor = items.content.float().div(255).mean((2, 3))
    return colours @ torch.from_numpy(MIX)


def test_it_gives_what_the_file_computes(make: Make) -> None:
    teacher = open_teacher(f"onnx:{make()}?{PLAIN}")
    assert isinstance(teacher, OnnxTeacher)
    items = images()
    torch.testing.assert_close(teacher.embed(items), expected(items))
    assert (teacher.name, teacher.dim, teacher.view, teacher.queries) == ("means", 4, "clean", 7)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_a_fixed_batch_size_is_filled_up(make: Make, count: int) -> None:
    """Whatever the number of images, each gets its own answer and the copies that fill up get none."""
    teacher = open_teacher(f"onnx:{make((4, 3, 8, 8))}?{PLAIN}")
    items = images(count)
    torch.testing.assert_close(teacher.embed(items), expected(items))
    assert teacher.queries == count


def test_the_settings_are_the_preprocessing(make: Make) -> None:
    """A net that takes any size is told one; the middle of a larger image is what it sees."""
    path = make(("n", 3, "h", "w"))
    teacher = open_teacher(
        f"onnx:{path}?input_size=4x4&resize=8&mode=squash&mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
    )
    items = images()
    middle = items.content[:, :, 2:6, 2:6].float().div(255).sub(0.5).div(0.25)
    torch.testing.assert_close(teacher.embed(items), middle.mean((2, 3)) @ torch.from_numpy(MIX))


def test_metadata_says_it_and_settings_overrule_it(make: Make) -> None:
    metadata = {"mean": [0.5] * 3, "std": [0.5] * 3, "normalize": True, "classes": ["r", "g", "b"]}
    path = make(outputs=("embedding", "logits"), metadata=metadata)
    items = images()
    teacher = open_teacher(f"onnx:{path}")
    outputs = teacher.outputs(items)
    colours = items.content.float().div(255).mean((2, 3))
    torch.testing.assert_close(outputs["logits"], (colours - 0.5) / 0.5)
    vectors = ((colours - 0.5) / 0.5) @ torch.from_numpy(MIX)
    torch.testing.assert_close(outputs["embedding"], torch.nn.functional.normalize(vectors))
    assert teacher.classes == ("r", "g", "b")
    plain = open_teacher(f"onnx:{path}?{PLAIN}&normalize=false")
    torch.testing.assert_close(plain.embed(items), expected(items))


def test_images_may_come_last(make: Make) -> None:
    teacher = open_teacher(f"onnx:{make(('n', 8, 8, 3), nhwc=True)}?{PLAIN}")
    items = images()
    torch.testing.assert_close(teacher.embed(items), expected(items))


def test_half_precision_in(make: Make) -> None:
    teacher = open_teacher(f"onnx:{make(kind=onnx.TensorProto.FLOAT16)}?{PLAIN}")
    items = images()
    torch.testing.assert_close(teacher.embed(items), expected(items), atol=1e-3, rtol=1e-3)


def test_the_hash_of_the_file_is_its_identity(make: Make, tmp_path: Path) -> None:
    one = identity(open_teacher(f"onnx:{make()}?{PLAIN}"))
    other = identity(open_teacher(f"onnx:{make((4, 3, 8, 8))}?{PLAIN}"))
    assert len(one["sha256"]) == 64
    assert one["sha256"] != other["sha256"]


def test_what_is_made_of_its_outputs_is_part_of_it(make: Make) -> None:
    """Otherwise a table begun with one output would be gone on with another."""
    file = make(outputs=("vector", "logits"))
    made = [
        identity(open_teacher(f"onnx:{file}?{PLAIN}&{rest}"))
        for rest in ("output=vector", "output=logits", "output=vector&normalize=true")
    ]
    assert all(one != other for place, one in enumerate(made) for other in made[:place])
    models = []
    for settings in ({}, {"pooling": "max"}, {"normalize": False}):
        torch.manual_seed(0)
        models.append(identity(LiveTeacher(build_embedder({"backbone": "smallconv_8", **settings}))))
    assert len({facts["sha256"] for facts in models}) == 1
    assert all(one != other for place, one in enumerate(models) for other in models[:place])


def test_weights_in_files_of_their_own_are_part_of_it(make: Make, tmp_path: Path) -> None:
    """Exported again, a large network keeps its graph to the byte and has other weights beside it."""
    alone = make()
    plain = identity(open_teacher(f"onnx:{alone}?{PLAIN}"))["sha256"]
    assert plain == hashlib.sha256(alone.read_bytes()).hexdigest()  # as the tables that there are know it
    (tmp_path / "means.onnx.data").write_bytes(b"a file that it does not name")
    assert identity(open_teacher(f"onnx:{alone}?{PLAIN}"))["sha256"] == plain
    for name in ("means.onnx.data", "weights_" + "of_a_long_name_" * 11):  # its length takes two bytes
        hashes = []
        for scale in (1.0, 2.0, 2.0):
            model = onnx.load(make())
            mix = next(one for one in model.graph.initializer if one.name == "mix")
            mix.CopyFrom(onnx.numpy_helper.from_array(scale * MIX, "mix"))
            place = tmp_path / f"out{scale}.onnx"
            (tmp_path / name).unlink(missing_ok=True)
            onnx.save_model(
                model,
                place,
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location=name,
                size_threshold=64,
            )
            hashes.append(identity(open_teacher(f"onnx:{place}?{PLAIN}"))["sha256"])
        graphs = [(tmp_path / f"out{scale}.onnx").read_bytes() for scale in (1.0, 2.0)]
        assert graphs[0] == graphs[1]
        assert hashes[0] != hashes[1] == hashes[2]
        assert plain not in hashes


def test_metadata_may_say_its_settings_as_they_are_typed(make: Make) -> None:
    said = {"mean": "0,0,0", "std": "1,1,1", "input_size": "8x8", "normalize": "false"}
    teacher = open_teacher(f"onnx:{make(metadata=said)}")
    items = images()
    torch.testing.assert_close(teacher.embed(items), expected(items))


@pytest.mark.parametrize(
    ("built", "query", "said"),
    [
        ({}, "", r"does not say how images become its input: add mean=0\.485,0\.456,0\.406&std=0\.229"),
        ({}, "mean=0,0,0", r"input: add std=0\.229"),
        ({"shape": ("n", 1, 8, 8)}, "", r"add mean=0\.5&std=0\.5"),
        ({"shape": ("n", 3, "h", "w")}, PLAIN, r"takes images of any size: say which with \?input_size"),
        ({}, f"{PLAIN}&input_size=16", r"takes images of \(8, 8\) only and was to be given \(16, 16\)"),
        ({}, "mean=0&std=1", "mean has 1 numbers for 3 channel"),
        ({}, "mean=red&std=1,1,1", "mean = 'red' does not fit: write numbers with commas"),
        ({}, f"{PLAIN}&input_size=8x8x8", "input_size = '8x8x8' does not fit"),
        ({}, f"{PLAIN}&normalize=yes", "normalize = 'yes' does not fit: write true or false"),
        ({}, f"{PLAIN}&men=0", r"has no setting 'men': did you mean 'mean'\?"),
        ({}, f"{PLAIN}&output=pooled", r"say which output holds the vectors with \?output=, one of vector"),
        ({"outputs": ("a", "logits")}, PLAIN, r"\?output=, one of a, logits"),
        ({"metadata": "no JSON"}, PLAIN, "its metadata 'understudy' must be a JSON object"),
        ({"metadata": {"means": [0]}}, PLAIN, "its metadata 'understudy' must be a JSON object"),
        (
            {"metadata": {"normalize": "no"}},
            PLAIN,
            "its metadata 'understudy': normalize = 'no' does not fit: write true or false",
        ),
        ({"metadata": {"normalize": 1}}, PLAIN, "normalize = 1 does not fit: write true or false"),
        ({"metadata": {"mean": "red"}}, "std=1,1,1", "mean = 'red' does not fit: write numbers"),
        ({"metadata": {"classes": 3}}, PLAIN, "says that its classes are 3: list their names"),
        ({"kind": onnx.TensorProto.UINT8}, PLAIN, r"takes tensor\(uint8\): export it with an input"),
        ({"shape": ("n", 5, 8, 8)}, PLAIN, "1 or 3 channels are needed"),
    ],
)
def test_what_does_not_fit_is_said(make: Make, built: dict[str, Any], query: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        open_teacher(f"onnx:{make(**built)}?{query}")


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(UserError, match="is no ONNX file that can be read"):
        open_teacher(f"onnx:{path}")
