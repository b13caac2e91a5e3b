from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models import build_embedder, read_tensors, save_artefact
from understudy.models.weights import load_weights

NAME = "test_resnet"


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """A timm network with its classifier of 7 classes."""
    return dict(timm.create_model(NAME, num_classes=7).state_dict())


def starts_from(file: Path, trained: dict[str, Tensor], **settings: Any) -> bool:
    model = build_embedder({"backbone": NAME, "weights": str(file), **settings})
    state = model.backbone.state_dict()
    return all(torch.equal(state[name], trained[name].float()) for name in state)


def wrapped_ddp(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}


def wrapped_twice(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"model": {"state_dict": {f"_orig_mod.model.{name}": tensor for name, tensor in state.items()}}}


@pytest.mark.parametrize("wrap", [dict, wrapped_ddp, wrapped_twice])
@pytest.mark.parametrize("ending", [".pth", ".pt"])
def test_a_pickled_file_loads_whatever_is_wrapped_around_it(
    tmp_path: Path, trained: dict[str, Tensor], wrap: Callable[[dict[str, Tensor]], Any], ending: str
) -> None:
    file = tmp_path / f"net{ending}"
    torch.save(wrap(trained), file)
    assert starts_from(file, trained)


def test_a_safetensors_file_loads(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    save_file(trained, tmp_path / "net.safetensors")
    assert starts_from(tmp_path / "net.safetensors", trained)


def test_half_precision_and_missing_counters_load(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    half = {n: t.half() for n, t in trained.items() if not n.endswith("num_batches_tracked")}
    torch.save(half, tmp_path / "half.pth")
    model = build_embedder({"backbone": NAME, "weights": str(tmp_path / "half.pth")})
    state = model.backbone.state_dict()
    assert next(iter(state.values())).dtype == torch.float32
    assert all(torch.equal(state[name], tensor.float()) for name, tensor in half.items() if name in state)


def test_the_classifier_of_the_file_is_ignored_whatever_its_size(
    tmp_path: Path, trained: dict[str, Tensor]
) -> None:
    assert "fc.weight" in trained
    bare = {name: tensor for name, tensor in trained.items() if not name.startswith("fc.")}
    torch.save(bare, tmp_path / "bare.pth")
    assert starts_from(tmp_path / "bare.pth", trained)


def test_the_weights_of_a_saved_model_load_into_its_backbone(tmp_path: Path) -> None:
    first = build_embedder({"backbone": "smallconv_8", "dim": 4}, classes=["a", "b"])
    save_artefact(first, tmp_path / "first")
    file = tmp_path / "first" / "model.safetensors"
    second = build_embedder({"backbone": "smallconv_8", "dim": 9, "weights": str(file)})
    name = "backbone.layers.2.conv.weight"
    assert torch.equal(first.get_parameter(name), second.get_parameter(name))


def test_timm_translates_published_files(tmp_path: Path) -> None:
    """A transformer's table of positions for 160 pixels is resampled for 96."""
    state = timm.create_model("test_vit").state_dict()
    torch.save(state, tmp_path / "vit.pth")
    model = build_embedder(
        {"backbone": "test_vit", "input_size": (96, 96), "weights": str(tmp_path / "vit.pth")}
    )
    loaded = model.backbone.state_dict()
    assert torch.equal(loaded["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])
    assert loaded["pos_embed"].shape != state["pos_embed"].shape


def test_a_wrong_shape_and_missing_tensors_are_named(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    first, *others = [name for name in trained if name.endswith("weight") and not name.startswith("fc")]
    state = dict(trained)
    state[first] = torch.zeros(1, 2, 3)
    del state[others[0]]
    state["extra.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError) as caught:
        build_embedder({"backbone": NAME, "weights": str(tmp_path / "net.pth")})
    said = str(caught.value)
    assert "net.pth' does not fit 'test_resnet': " in said
    assert f"{first} is (1, 2, 3) in the file and {tuple(trained[first].shape)} in the network" in said
    assert f"{others[0]} is not in the file" in said
    assert "extra.weight is not in the network" in said


def test_only_the_first_few_of_many_mismatches_are_named(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    torch.save({f"other.{n}.x": t for n, t in trained.items()}, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r" and \d+ more") as caught:
        build_embedder({"backbone": NAME, "weights": str(tmp_path / "net.pth")})
    assert len(str(caught.value)) < 500


def renamed(trained: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in the same order under other names, without counters."""
    named = [(n, t) for n, t in trained.items() if not n.endswith("num_batches_tracked")]
    return {f"_layer{i}.{name.rpartition('.')[2]}": tensor for i, (name, tensor) in enumerate(named)}


def test_other_names_load_in_order_when_asked(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    torch.save(renamed(trained), tmp_path / "net.pth")
    with pytest.raises(UserError, match="all shapes fit in order, so weights_in_order=true loads it"):
        starts_from(tmp_path / "net.pth", trained)
    model = build_embedder({"backbone": NAME, "weights": str(tmp_path / "net.pth"), "weights_in_order": True})
    for name, tensor in model.backbone.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(tensor, trained[name])


def test_in_order_every_shape_is_checked(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    state = renamed(trained)
    name = list(state)[5]
    state[name] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        UserError, match=rf"does not fit '{NAME}' in order: its tensor 5, {name} \(3, 3\), stands"
    ):
        starts_from(tmp_path / "net.pth", trained, weights_in_order=True)


def test_in_order_the_parts_of_a_layer_are_not_mixed_up(tmp_path: Path) -> None:
    """Four vectors of one length: only their names tell that the order differs."""
    network = nn.BatchNorm1d(3)
    torch.save(
        {f"x.{n}": torch.zeros(3) for n in ("bias", "weight", "running_mean", "running_var")},
        tmp_path / "n.pt",
    )
    with pytest.raises(UserError, match=r"its tensor 0, x.bias \(3,\), stands where weight"):
        load_weights(network, tmp_path / "n.pt", name="a norm", in_order=True)


def test_in_order_the_number_of_tensors_must_agree(tmp_path: Path, trained: dict[str, Tensor]) -> None:
    state = renamed(trained)
    torch.save(dict(list(state.items())[:-5]), tmp_path / "short.pth")
    torch.save({**state, "a.weight": torch.zeros(1), "b.weight": torch.zeros(1)}, tmp_path / "long.pth")
    for file in ("short.pth", "long.pth"):
        with pytest.raises(UserError, match=r"in order: it has \d+ tensors, the network \d+"):
            starts_from(tmp_path / file, trained, weights_in_order=True)


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["UNDERSTUDY_TEST_HARM"],)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_TEST_HARM", str(tmp_path / "harm"))
    torch.save({"weight": torch.zeros(1), "more": Harmful()}, tmp_path / "net.pth")
    with pytest.raises(UserError, match="holds more than plain tensors, or is damaged: it is not loaded"):
        read_tensors(tmp_path / "net.pth")
    assert not (tmp_path / "harm").exists()


def test_a_whole_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(1, 1), tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"convert it to .safetensors"):
        read_tensors(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("keep", [0, 20, 0.5])
def test_a_truncated_file_says_so(tmp_path: Path, trained: dict[str, Tensor], name: str, keep: float) -> None:
    file = tmp_path / name
    save_file(trained, file) if name.endswith("safetensors") else torch.save(trained, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match=r"cut short|damaged"):
        read_tensors(file)


def test_missing_and_foreign_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no weights file"):
        build_embedder({"backbone": "smallconv_8", "weights": str(tmp_path / "no.pth")})
    (tmp_path / "net.npz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"pass a .safetensors, .pth or .pt file"):
        read_tensors(tmp_path / "net.npz")
    for number, value in enumerate(({"epoch": 3}, [torch.zeros(1)], {})):
        torch.save(value, tmp_path / f"{number}.pth")
        with pytest.raises(UserError, match="holds no tensors"):
            read_tensors(tmp_path / f"{number}.pth")
