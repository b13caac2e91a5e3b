"""The package's own networks: sizes that are published, and shapes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from understudy.models import build_embedder, count_macs, count_parameters
from understudy.models.bn_inception import BNInception
from understudy.models.mobilenet_v1 import MobileNetV1
from understudy.models.nin_bn import NINBN
from understudy.models.small import SmallConv


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_nin_bn_has_the_7_6_million_parameters_of_darkrank() -> None:
    network = NINBN()
    biases = sum(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    assert parameters(network) == 7_625_056
    assert biases == 5_280
    assert round(parameters(network) / 1e6, 1) == round((parameters(network) + biases) / 1e6, 1) == 7.6


def test_bn_inception_has_the_10_3_million_parameters_of_darkrank() -> None:
    assert parameters(BNInception()) == 10_260_224
    assert round(parameters(BNInception()) / 1e6, 1) == 10.3


def test_bn_inception_halves_224_to_7_with_the_widths_of_the_paper() -> None:
    network = BNInception().eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_children():
        module.register_forward_hook(lambda _m, _i, o, name=name: shapes.update({name: tuple(o.shape[1:])}))
    with torch.no_grad():
        network(torch.zeros(1, 3, 224, 224))
    assert shapes == {
        "stem": (192, 28, 28),
        "inception3a": (256, 28, 28),
        "inception3b": (320, 28, 28),
        "inception3c": (576, 14, 14),
        "inception4a": (576, 14, 14),
        "inception4b": (576, 14, 14),
        "inception4c": (608, 14, 14),
        "inception4d": (608, 14, 14),
        "inception4e": (1056, 7, 7),
        "inception5a": (1024, 7, 7),
        "inception5b": (1024, 7, 7),
    }


def test_mobilenet_v1_is_timms_tensor_for_tensor() -> None:
    import timm.models.efficientnet as theirs

    reference = theirs._gen_mobilenet_v1("mobilenetv1_100", 0.25, num_classes=0)
    network = MobileNetV1(0.25)
    assert parameters(network) == 213_072
    shapes = [tuple(t.shape) for t in network.state_dict().values()]
    assert shapes == [tuple(t.shape) for t in reference.state_dict().values()]
    network.load_state_dict(dict(zip(network.state_dict(), reference.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), reference.eval().forward_features(x))


@pytest.mark.parametrize(
    ("name", "alone", "with_head", "macs"),
    [
        ("smallconv_8", 4_792, 5_880, 490_624),
        ("smallconv_16", 18_800, 20_912, 1_730_048),
        ("smallconv_32", 74_464, 78_624, 6_455_296),
        ("smallconv_64", 296_384, 304_640, 24_891_392),
    ],
)
def test_small_nets_cost_what_their_docstring_says(name: str, alone: int, with_head: int, macs: int) -> None:
    model = build_embedder({"backbone": name, "dim": 64})
    assert count_parameters(model.backbone) == alone
    assert count_parameters(model) == with_head
    assert count_macs(model) == macs
    row = f"| ``{name}`` | {alone:,} | {with_head:,} | {macs:,} |"
    assert row in (SmallConv.__doc__ or "")


def test_small_nets_take_any_width() -> None:
    assert build_embedder("smallconv_12").pooled_dim == 24


def test_convolutions_start_with_he_variance() -> None:
    layer = NINBN().get_submodule("group4.0.conv")
    assert isinstance(layer, nn.Conv2d)
    assert float(layer.weight.detach().std()) == pytest.approx((2 / (1024 * 9)) ** 0.5, rel=0.01)
    depthwise = next(m for m in MobileNetV1(1.0).modules() if isinstance(m, nn.Conv2d) and m.groups == 1024)
    assert float(depthwise.weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.03)


@pytest.mark.slow
def test_own_backbones_do_not_import_timm() -> None:
    code = (
        "import sys; from understudy.models import build_embedder; "
        "[build_embedder({'backbone': n, 'input_size': (72, 72)}) for n in ('smallconv_8', 'nin_bn')]; "
        "print(sorted({'timm', 'torchvision', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
