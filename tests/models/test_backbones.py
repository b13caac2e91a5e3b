from __future__ import annotations

import socket
from typing import Any

import pytest
import timm
import torch

from understudy.errors import UserError
from understudy.models import backbone_names, build_embedder
from understudy.models.backbones import (
    pool_inside,
    pool_maps,
    pool_timm,
    pool_timm_channels_last,
)


@pytest.mark.parametrize(
    ("name", "size", "how", "dim"),
    [
        ("test_resnet", 64, pool_timm, 96),
        ("mobilenetv3_small_050", 64, pool_timm, 1024),  # its last convolution stands after the pooling
        ("test_convnext", 64, pool_timm, 64),  # its normalisation too
        ("test_mambaout", 64, pool_timm_channels_last, 256),  # channels last
        ("test_vit", None, pool_inside, 64),  # tokens
        ("nin_bn", 72, pool_maps, 1024),
    ],
)
def test_average_pooling_gives_the_features_of_timm(name: str, size: int | None, how: Any, dim: int) -> None:
    config: dict[str, Any] = {"backbone": name}
    if size is not None:
        config["input_size"] = (size, size)
    model = build_embedder(config).eval()
    assert model._pooled is how
    assert model.pooled_dim == model.dim == dim
    x = torch.randn(3, 3, *model.preprocessing.size)
    with torch.no_grad():
        pooled = model(x)["pooled"]
        assert pooled.shape == (3, dim)
        if how is not pool_maps:
            theirs = timm.create_model(name, num_classes=0)
            theirs.load_state_dict(model.backbone.state_dict())
            torch.testing.assert_close(pooled, theirs.eval()(x))


def test_other_poolings_stand_before_timms_own_head() -> None:
    model = build_embedder(
        {"backbone": "mobilenetv3_small_050", "pooling": "max", "input_size": (64, 64)}
    ).eval()
    x = torch.randn(2, 3, 64, 64)
    network: Any = model.backbone
    with torch.no_grad():
        maps = network.forward_features(x)
        expected = network.forward_head(maps.amax((2, 3), keepdim=True), pre_logits=True)
        torch.testing.assert_close(model(x)["pooled"], expected)


def test_a_backbone_that_pools_inside_refuses_other_poolings() -> None:
    with pytest.raises(UserError, match="'test_vit' does its own pooling: leave pooling at 'avg'"):
        build_embedder({"backbone": "test_vit", "pooling": "gem"})


def test_timm_defaults_become_the_preprocessing() -> None:
    pre = build_embedder("mobilenetv3_small_050").preprocessing
    assert pre.size == (224, 224)
    assert pre.resize == (256, 256)
    assert (pre.mode, pre.interpolation, pre.channels) == ("shorter", "bicubic", 3)
    assert pre.mean == (0.485, 0.456, 0.406)


def test_settings_replace_the_defaults_of_the_input() -> None:
    model = build_embedder(
        {
            "backbone": "mobilenetv1_025",
            "input_size": (128, 64),
            "mode": "squash",
            "channels": 1,
            "interpolation": "lanczos",
        }
    )
    pre = model.preprocessing
    assert (pre.size, pre.resize) == ((128, 64), (146, 73))
    assert (pre.mode, pre.interpolation, pre.channels) == ("squash", "lanczos", 1)
    assert pre.mean == pytest.approx((0.449,))
    assert pre.std == pytest.approx((0.226,))
    with torch.no_grad():
        assert model(torch.zeros(2, 1, 128, 64))["embedding"].shape == (2, 256)


def test_a_smaller_output_stride_keeps_more_positions_and_the_same_weights() -> None:
    config = {"backbone": "test_resnet", "input_size": (64, 32)}
    wide, usual = build_embedder({**config, "output_stride": 16}).eval(), build_embedder(config).eval()
    wide.load_state_dict(usual.state_dict())
    x: Any = torch.randn(1, 3, 64, 32)
    networks: list[Any] = [wide.backbone, usual.backbone]
    with torch.no_grad():
        assert [tuple(n.forward_features(x).shape[2:]) for n in networks] == [(4, 2), (2, 1)]


@pytest.mark.parametrize("name", ["test_vit", "vgg11", "smallconv_8"])
def test_a_network_without_a_choice_of_stride_says_so(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}' has no output_stride .*: leave output_stride out"):
        build_embedder({"backbone": name, "output_stride": 16})


def test_a_transformer_is_built_for_another_input_size() -> None:
    model = build_embedder({"backbone": "test_vit", "input_size": (96, 64)}).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 96, 64))["pooled"].shape == (1, 64)


def test_vgg_leaves_the_layers_of_its_classifier_out() -> None:
    with torch.device("meta"):
        whole = timm.create_model("vgg11", num_classes=0)
    assert whole.head_hidden_size == 4096
    model = build_embedder({"backbone": "vgg11", "input_size": (64, 64)})
    assert model.pooled_dim == 512
    assert not any(name.startswith("backbone.pre_logits") for name in model.state_dict())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet_50", "did you mean 'resnet50'?"),
        ("smallconv16", "did you mean 'smallconv_16'?"),
        ("nin-bn", "did you mean 'nin_bn'?"),
        ("zzzzzz", "pass a timm model or one of smallconv_8, "),
        ("smallconv_0", "did you mean"),
        ("hf-hub:someone/model", "there is no backbone named 'hf-hub:someone/model'"),
        ("", "there is no backbone named ''"),
    ],
)
def test_an_unknown_backbone_suggests_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError, match="there is no backbone named") as caught:
        build_embedder(name)
    assert hint in str(caught.value)


def test_an_unknown_tag_suggests_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"timm has no weights 'a1_in1' of 'resnet50': did you mean 'a1_in1k'\?"
    ):
        build_embedder("resnet50.a1_in1")


def test_an_input_too_small_is_refused() -> None:
    with pytest.raises(UserError, match="'nin_bn' cannot take images of 16×16 with 3 channel"):
        build_embedder({"backbone": "nin_bn", "input_size": (16, 16)})


def test_an_input_that_timm_cannot_build_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("height must divide\nby the patch")

    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(
        UserError, match=r"'test_vit' cannot be built for inputs of 90×90: height must divide$"
    ):
        build_embedder({"backbone": "test_vit", "input_size": (90, 90)})


def test_a_resize_smaller_than_the_input_is_refused() -> None:
    with pytest.raises(UserError, match=r"'smallconv_8': resize .* is smaller than size"):
        build_embedder({"backbone": "smallconv_8", "resize": (20, 20)})


def test_a_mean_of_another_number_of_channels_is_refused() -> None:
    with pytest.raises(UserError, match="'smallconv_8': mean has 3 numbers for 1 channel"):
        build_embedder({"backbone": "smallconv_8", "mean": (0.5, 0.5, 0.5)})


def test_without_a_network_the_download_says_which_file_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_name)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with pytest.raises(UserError, match=r"there is no network: pass weights=FILE with a local .safetensors"):
        build_embedder({"backbone": "resnet50", "weights": "pretrained"})


def test_a_failed_download_says_which_file_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: object, **_kwargs: object) -> None:
        raise OSError("connection reset")

    monkeypatch.setattr("understudy.models._timm._can_download", lambda *_: None)
    monkeypatch.setattr(timm, "create_model", fails)
    with pytest.raises(UserError, match="'resnet50' could not be downloaded: pass weights=FILE"):
        build_embedder({"backbone": "resnet50", "weights": "pretrained"})


@pytest.mark.parametrize("name", ["nin_bn", "mobilenetv1_125.nothing", "regnetz_005"])
def test_weights_that_do_not_exist_cannot_be_downloaded(name: str) -> None:
    with pytest.raises(UserError, match="weights"):
        build_embedder({"backbone": name, "weights": "pretrained"})


def test_every_name_is_listed() -> None:
    names = backbone_names()
    assert {"smallconv_16", "nin_bn", "bn_inception", "mobilenetv1_025", "resnet50"} <= set(names)
    assert len(names) == len(set(names))
