from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from understudy.data import items as data_items
from understudy.data.augmentation import Augmentation
from understudy.data.render import render
from understudy.data.views import Views
from understudy.errors import UserError
from understudy.models import Embedder, EmbedderConfig, TeacherSpace, build_embedder, parse_config


def small(**settings: Any) -> Embedder:
    classes = settings.pop("classes", None)
    return build_embedder({"backbone": "smallconv_8", "dim": 12, **settings}, classes=classes)


def images(n: int = 5) -> Tensor:
    return torch.randn(n, 1, 40, 40, generator=torch.Generator().manual_seed(1))


def test_the_outputs_hang_together() -> None:
    model = small(classes=["a", "b", "c"]).eval()
    outputs = model(images())
    assert {name: tuple(t.shape) for name, t in outputs.items()} == {
        "embedding": (5, 12),
        "raw": (5, 12),
        "pooled": (5, 16),
        "logits": (5, 3),
    }
    assert isinstance(model.head, nn.Linear)
    assert model.classifier is not None
    torch.testing.assert_close(outputs["pooled"], model.backbone(images()).mean((2, 3)))
    torch.testing.assert_close(outputs["raw"], outputs["pooled"] @ model.head.weight.T + model.head.bias)
    torch.testing.assert_close(
        outputs["embedding"], outputs["raw"] / outputs["raw"].norm(dim=1, keepdim=True)
    )
    torch.testing.assert_close(outputs["logits"], model.classifier(outputs["raw"]))
    torch.testing.assert_close(model.embed(images()), outputs["embedding"])


def test_without_a_dimension_there_is_no_head() -> None:
    model = small(dim=None).eval()
    outputs = model(images())
    assert model.dim == model.pooled_dim == 16
    assert outputs["raw"] is outputs["pooled"]
    assert not any(name.startswith("head") for name in model.state_dict())


@pytest.mark.parametrize("dim", [12, None])
def test_a_neck_centres_and_scales_what_is_normalised(dim: int | None) -> None:
    model = small(neck="bn", dim=dim, classes=["a", "b"]).train()
    outputs = model(images(64))
    linear = nn.Identity() if dim is None else model.get_submodule("head.0")
    before = linear(outputs["pooled"])
    torch.testing.assert_close(
        outputs["raw"],
        (before - before.mean(0)) / (before.var(0, unbiased=False) + 1e-5).sqrt(),
        rtol=1e-4,
        atol=1e-5,
    )
    assert model.classifier is not None
    torch.testing.assert_close(outputs["logits"], model.classifier(outputs["raw"]))
    torch.testing.assert_close(outputs["embedding"].norm(dim=1), torch.ones(64))
    torch.testing.assert_close(model.eval().embed(images()), model(images())["embedding"])


def test_without_normalisation_the_embedding_is_raw() -> None:
    outputs = small(normalize=False).eval()(images())
    torch.testing.assert_close(outputs["embedding"], outputs["raw"])


def test_the_head_starts_uniform_within_one_over_the_root_of_its_inputs() -> None:
    head = build_embedder({"backbone": "smallconv_128", "dim": 64}).head
    assert isinstance(head, nn.Linear)
    bound = 256**-0.5
    for values in (head.weight.detach(), head.bias.detach()):
        assert float(values.abs().max()) <= bound
        assert float(values.std()) == pytest.approx(bound / 3**0.5, rel=0.15)


def test_the_same_seed_builds_the_same_model() -> None:
    torch.manual_seed(3)
    first = small()
    torch.manual_seed(3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), small().parameters(), strict=True))


def test_building_leaves_the_statistics_of_normalisation_untouched() -> None:
    norms = [m for m in small().modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 5
    fresh = nn.BatchNorm2d(1)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        value = fresh.get_buffer(name)
        assert all(torch.equal(n.get_buffer(name), value.expand_as(n.get_buffer(name))) for n in norms)
    assert small().training


def test_half_precision_is_normalised_in_float32() -> None:
    model = small().eval()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(images())
    assert outputs["raw"].dtype == torch.bfloat16
    assert outputs["embedding"].dtype == torch.float32
    torch.testing.assert_close(outputs["embedding"].norm(dim=1), torch.ones(5))


def test_float64_is_kept() -> None:
    assert small().double().eval()(images().double())["embedding"].dtype == torch.float64


def test_an_image_that_embeds_to_zero_gives_finite_gradients() -> None:
    model = small().eval()
    assert isinstance(model.head, nn.Linear)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)
    model(images())["embedding"].sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)


def frozen(model: Embedder) -> tuple[bool, bool]:
    """Whether a training step leaves the statistics alone, and whether it trains scale and shift."""
    norm = next(m for m in model.backbone.modules() if isinstance(m, nn.BatchNorm2d))
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    model.train()
    model(images())["embedding"].square().sum().mul(3).sub(model(images())["raw"].sum()).backward()
    return bool(torch.equal(before, norm.running_mean)), norm.weight.grad is not None  # type: ignore[arg-type]


def test_freezing_batch_norm_keeps_statistics_and_trains_scale_and_shift() -> None:
    assert frozen(small()) == (False, True)
    assert frozen(small(freeze_bn=True)) == (True, True)
    assert frozen(small(freeze_bn="all")) == (True, False)


def test_frozen_batch_norm_survives_train_and_everything_else_trains() -> None:
    model = build_embedder({"backbone": "nin_bn", "input_size": (72, 72), "freeze_bn": True})
    for _ in range(2):
        assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
        assert next(m for m in model.modules() if isinstance(m, nn.Dropout)).training
        model.eval()
        assert not any(m.training for m in model.modules())
        model.train()


def test_maps_come_by_name_until_no_longer_wanted() -> None:
    model = small().eval()
    model.request_maps(["layers.4", "layers.1.conv"])
    outputs = model(images())
    assert {name: tuple(t.shape) for name, t in outputs["maps"].items()} == {
        "layers.4": (5, 16, 5, 5),
        "layers.1.conv": (5, 8, 20, 20),
    }
    torch.testing.assert_close(outputs["maps"]["layers.4"], model.backbone(images()))
    model.request_maps(["layers.0"])
    assert list(model(images())["maps"]) == ["layers.0"]
    model.request_maps([])
    assert "maps" not in model(images())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("name", ["smallconv_8", "test_resnet", "test_mambaout"])
def test_the_map_that_is_pooled_goes_by_the_name_features(name: str) -> None:
    model = build_embedder({"backbone": name, "input_size": (64, 64), "pooling": "max"}).eval()
    model.request_maps(["features"])
    outputs = model(torch.randn(2, model.preprocessing.channels, 64, 64))
    maps = outputs["maps"]["features"]
    assert maps.dim() == 4
    if name != "test_mambaout":  # its own head follows the pooling
        torch.testing.assert_close(maps.amax((2, 3)), outputs["pooled"])
    else:
        assert maps.shape[1] == 64


def test_a_backbone_that_pools_inside_has_no_features_to_show() -> None:
    with pytest.raises(UserError, match="no layer of 'test_vit' named 'features'"):
        build_embedder("test_vit").request_maps(["features"])


def test_maps_carry_gradients_and_are_not_kept() -> None:
    model = small()
    model.request_maps(["layers.0"])
    model(images())["maps"]["layers.0"].sum().backward()
    assert model.get_parameter("backbone.layers.0.conv.weight").grad is not None
    model.embed(images())
    assert model._capture is not None
    assert model._capture.take() == {}


def test_maps_of_a_copy_are_its_own() -> None:
    model = small().eval()
    model.request_maps(["layers.4"])
    other = copy.deepcopy(model)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(2)
    assert not torch.equal(model(images())["maps"]["layers.4"], other(images())["maps"]["layers.4"])
    torch.testing.assert_close(other(images())["maps"]["layers.4"], other.backbone(images()))


def test_an_unknown_layer_suggests_the_nearest() -> None:
    with pytest.raises(
        UserError, match=r"no layer of 'smallconv_8' named 'layer.4': did you mean 'layers.4'\?"
    ):
        small().request_maps(["layer.4"])
    with pytest.raises(UserError, match="known are layers"):
        small().request_maps(["zzzzzzz"])


def test_a_layer_without_a_tensor_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    from understudy.models._maps import MapCapture

    network = nn.Sequential(Two())
    MapCapture(network, nn.Identity(), ["0"], "net")
    with pytest.raises(UserError, match="layer '0' gives no tensor"):
        network(images())


def test_items_are_rendered_at_the_models_own_size_and_normalisation() -> None:
    content = torch.randint(0, 256, (4, 3, 50, 60), dtype=torch.uint8)
    rows = torch.arange(4)
    views = Views(Augmentation(crop_scale=(0.5, 1.0), flip=0.5), 0, rows, rows)
    model = small(mean=(0.3,), std=(0.2,))
    for chosen in (None, views):
        x = model.prepare(data_items.Items(rows, content, chosen))
        assert x.shape == (4, 1, 40, 40)
        assert torch.equal(x, render(content, chosen, model.preprocessing))


def test_texts_are_refused() -> None:
    with pytest.raises(UserError, match="'smallconv_8' embeds images: the items given are texts"):
        small().prepare(data_items.Items(torch.arange(1), ["a word"]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backbone": "nin_bn", "pool": "avg"}, "the model has no setting 'pool': did you mean 'pooling'?"),
        ({"dim": 3}, "the model: 'backbone' is missing: give one"),
        ({"backbone": "nin_bn", "dim": 0}, "the model: dim = 0 does not fit: input should be greater than 0"),
        ({"backbone": "nin_bn", "pooling": "mean"}, "the model: pooling = 'mean' does not fit: "),
        ({"backbone": "nin_bn", "input_size": 224}, "the model: input_size = 224 does not fit: "),
        ({"backbone": "nin_bn", "freeze_bn": "most"}, "the model: freeze_bn = 'most' does not fit: "),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(values)
    assert str(caught.value).startswith(said)


def test_a_configuration_a_mapping_and_a_name_build_the_same() -> None:
    config = EmbedderConfig(backbone="smallconv_8")
    assert build_embedder(config).config == build_embedder({"backbone": "smallconv_8"}).config
    assert build_embedder("smallconv_8").config == config


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "normalize"),
    [
        ("smallconv_8", 40, True),
        ("smallconv_8", 40, False),
        ("nin_bn", 72, True),
        ("nin_bn", 72, False),
        ("mobilenetv3_small_050", 64, True),
        ("mobilenetv3_small_050", 64, False),
        ("test_mambaout", 64, True),  # channels last
    ],
)
def test_an_exported_model_gives_what_the_eager_one_gives(name: str, size: int, normalize: bool) -> None:
    settings = {
        "backbone": name,
        "dim": 8,
        "normalize": normalize,
        "input_size": (size, size),
        "pooling": "gem",
    }
    space = TeacherSpace(dim=10, teacher="large") if normalize else None
    model = build_embedder(settings, classes=["a", "b"], space=space).eval()
    channels = model.preprocessing.channels
    sample = torch.randn(3, channels, size, size)
    exported = torch.export.export(
        model, (sample,), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    ).module()
    for n in (1, 14):
        x = torch.randn(n, channels, size, size)
        with torch.no_grad():
            expected, found = model(x), exported(x)
        assert list(found) == list(expected)
        for key in expected:
            torch.testing.assert_close(found[key], expected[key])


@pytest.mark.slow
def test_an_exported_model_gives_its_maps() -> None:
    model = small().eval()
    model.request_maps(["layers.2"])
    exported = torch.export.export(
        model, (images(3),), dynamic_shapes=({0: torch.export.Dim("n", min=1)},)
    ).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(images(14))["maps"], model(images(14))["maps"])
