"""Backbones by name: the package's own and every one of timm."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError
from understudy.models import _timm
from understudy.models.bn_inception import BNInception
from understudy.models.config import EmbedderConfig, in_words
from understudy.models.mobilenet_v1 import MobileNetV1
from understudy.models.nin_bn import NINBN
from understudy.models.pooling import POOLINGS
from understudy.models.small import SmallConv
from understudy.models.weights import load_weights

OWN_BACKBONES = (
    "smallconv_8",
    "smallconv_16",
    "smallconv_32",
    "smallconv_64",
    "mobilenetv1_025",
    "mobilenetv1_050",
    "nin_bn",
    "bn_inception",
)

_TINY = Preprocessing(
    size=(40, 40),
    resize=(40, 40),
    mode="squash",
    channels=1,
    interpolation="bilinear",
    mean=(0.5,),
    std=(0.5,),
)
_IMAGENET = Preprocessing(size=(224, 224), resize=(256, 256), interpolation="bilinear")
_SMALL = re.compile(r"smallconv_([1-9]\d{0,3})")

Pooled = Callable[[nn.Module, nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Backbone:
    """A network and how its pooled features are read.

    Attributes:
        network: The network without a classifier.
        pool: The pooling; an identity where the network does its own.
        pooled: ``pooled(network, pool, x)`` gives (n, dim) features.
        dim: Width of the pooled features.
        preprocessing: What its input looks like.
    """

    network: nn.Module
    pool: nn.Module
    pooled: Pooled
    dim: int
    preprocessing: Preprocessing


def backbone_names() -> list[str]:
    """Every backbone that can be built by name; ``smallconv_W`` also takes other widths W than those listed.

    Example:
        >>> "nin_bn" in backbone_names() and "resnet50" in backbone_names()
        True
    """
    return [*OWN_BACKBONES, *_timm.timm_names()]


def build_backbone(config: EmbedderConfig) -> Backbone:
    """Builds the backbone that a configuration names, with its weights if a file is given.

    A timm model's feature map is pooled by ``config.pooling`` and goes through whatever timm's own head does
    after pooling and before the classifier (MobileNetV3's last convolution, ConvNeXt's normalisation), so
    that "avg" gives timm's own features; maps with channels last (Swin) are turned first. A model whose head
    cannot be split so (tokens, attention pooling) keeps its own pooling, and any other but "avg" is refused.

    Raises:
        UserError: There is no such backbone, it does not take inputs of that size, the pooling or the output
            stride does not fit, or the weights cannot be loaded.
    """
    name = config.backbone
    own = _own(name)
    pretrained = config.weights == "pretrained"
    if own is not None:
        build, defaults = own
        preprocessing = _preprocessing(config, defaults)
        if pretrained:
            raise UserError(f"{name!r} has no weights to download: pass weights=FILE or leave weights out")
        if config.output_stride is not None:
            raise UserError(f"{name!r} has no output_stride but its own: leave output_stride out")
        network = build(preprocessing.channels)
        ignore: tuple[str, ...] = ()
    else:
        _check_timm_name(name)
        preprocessing = _preprocessing(config, _timm.default_preprocessing(name))
        network = _timm.create(name, preprocessing, pretrained=pretrained, output_stride=config.output_stride)
        ignore = _timm.classifier_prefixes(network)
    pool, pooled, dim = _reading(config, network, preprocessing)
    if config.weights is not None and not pretrained:
        load_weights(
            network, config.weights, name=repr(name), ignore=ignore, in_order=config.weights_in_order
        )
    return Backbone(network, pool, pooled, dim, preprocessing)


def _own(name: str) -> tuple[Callable[[int], nn.Module], Preprocessing] | None:
    small = _SMALL.fullmatch(name)
    if small:
        return (lambda channels: SmallConv(int(small[1]), channels)), _TINY
    builders: dict[str, Callable[[int], nn.Module]] = {
        "mobilenetv1_025": lambda channels: MobileNetV1(0.25, channels),
        "mobilenetv1_050": lambda channels: MobileNetV1(0.5, channels),
        "nin_bn": NINBN,
        "bn_inception": BNInception,
    }
    return (builders[name], _IMAGENET) if name in builders else None


def _check_timm_name(name: str) -> None:
    known = backbone_names()
    if name.partition(".")[0] in known[len(OWN_BACKBONES) :]:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"pass a timm model or one of {', '.join(OWN_BACKBONES)}"
    raise UserError(f"there is no backbone named {name!r}: {hint}")


def _preprocessing(config: EmbedderConfig, defaults: Preprocessing) -> Preprocessing:
    """The backbone's defaults with what the configuration says instead.

    A grey input takes the mean of the colours' statistics; another size keeps the defaults' margin around it.
    """
    channels = config.channels or defaults.channels
    mean, std = defaults.mean, defaults.std
    if channels != len(mean):
        mean, std = (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
    size = config.input_size or defaults.size
    resize = config.resize
    if resize is None:
        resize = (
            size[0] * defaults.resize[0] // defaults.size[0],
            size[1] * defaults.resize[1] // defaults.size[1],
        )
    try:
        return Preprocessing(
            size=size,
            resize=resize,
            mode=config.mode or defaults.mode,
            channels=channels,
            interpolation=config.interpolation or defaults.interpolation,
            mean=config.mean or mean,
            std=config.std or std,
        )
    except ValidationError as error:
        raise UserError(f"{config.backbone!r}: {in_words(error)}") from error


def _reading(config: EmbedderConfig, network: nn.Module, pre: Preprocessing) -> tuple[nn.Module, Pooled, int]:
    """Finds out, on one made-up image, how a network's features are to be pooled."""
    x = torch.randn((1, pre.channels, *pre.size), generator=torch.Generator().manual_seed(0))
    pool = POOLINGS[config.pooling]()
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            pooled = _timm_reading(network, x) if hasattr(network, "forward_head") else pool_maps
            if pooled is pool_inside and config.pooling != "avg":
                raise UserError(
                    f"{config.backbone!r} does its own pooling: leave pooling at 'avg', {config.pooling!r} "
                    "needs a feature map"
                )
            dim = pooled(network, pool, x).shape[1]
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        height, width = pre.size
        raise UserError(
            f"{config.backbone!r} cannot take images of {height}×{width} with {pre.channels} channel(s): "
            "set another input_size or channels"
        ) from error
    network.train(training)
    return (nn.Identity() if pooled is pool_inside else pool), pooled, dim


def _timm_reading(network: nn.Module, x: Tensor) -> Pooled:
    average = POOLINGS["avg"]()
    maps = network.forward_features(x)  # type: ignore[operator]
    theirs = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    if isinstance(maps, Tensor) and maps.dim() == 4:
        last = str(getattr(network, "output_fmt", "NCHW")) == "NHWC"
        candidate = pool_timm_channels_last if last else pool_timm
        ours = candidate(network, average, x)
        if ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6):
            return candidate
    return pool_inside


def pool_maps(network: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
    """The features of a network that gives a feature map."""
    features: Tensor = pool(network(x))
    return features


def pool_timm(network: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
    """The features of a timm network; its own head sees the pooled map as one of 1×1."""
    features = pool(network.forward_features(x))  # type: ignore[operator]
    out: Tensor = network.forward_head(features[:, :, None, None], pre_logits=True)  # type: ignore[operator]
    return out


def pool_timm_channels_last(network: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:
    """As `pool_timm`, for (n, H, W, C) maps."""
    features = pool(network.forward_features(x).permute(0, 3, 1, 2))  # type: ignore[operator]
    out: Tensor = network.forward_head(features[:, None, None, :], pre_logits=True)  # type: ignore[operator]
    return out


def pool_inside(network: nn.Module, pool: nn.Module, x: Tensor) -> Tensor:  # noqa: ARG001 (one signature)
    """The features of a timm network that does its own pooling."""
    out: Tensor = network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]
    return out
