"""timm's models as backbones. timm is imported on use only: the package's own backbones do without it."""

from __future__ import annotations

import math
import socket
import urllib.parse
import urllib.request
from typing import Any

import torch
from torch import nn

from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError, suggest

_FILE_INSTEAD = "pass weights=FILE with a local .safetensors or .pth file of it"


def timm_names() -> list[str]:
    """Every architecture that timm knows."""
    import timm

    return list(timm.list_models())


def default_preprocessing(name: str) -> Preprocessing:
    """What timm's pretrained weights of a model expect; ImageNet's usual where timm says nothing.

    An image's shorter side is resized to ``size / crop_pct``, rounded down, and the centre taken, as timm's
    own evaluation does.

    Raises:
        UserError: The name's tag (after the dot) does not exist.
    """
    cfg = _pretrained_cfg(name)
    height, width = cfg.get("input_size", (3, 224, 224))[1:]
    share = cfg.get("crop_pct") or 0.875
    interpolation = cfg.get("interpolation")
    return Preprocessing(
        size=(height, width),
        resize=(math.floor(height / share), math.floor(width / share)),
        mode="squash" if cfg.get("crop_mode") == "squash" else "shorter",
        interpolation=interpolation if interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic",
        mean=tuple(cfg.get("mean") or (0.485, 0.456, 0.406)),
        std=tuple(cfg.get("std") or (0.229, 0.224, 0.225)),
    )


def create(name: str, pre: Preprocessing, *, pretrained: bool, output_stride: int | None = None) -> nn.Module:
    """A timm model without its classifier, for inputs as ``pre`` describes them.

    Raises:
        UserError: The tag or the input size does not exist, the weights cannot be had, or the model has only
            its own output stride.
    """
    import timm

    cfg = _pretrained_cfg(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": pre.channels}
    if cfg.get("fixed_input_size") and tuple(cfg["input_size"][1:]) != pre.size:
        options["img_size"] = pre.size
    if output_stride is not None:
        _can_stride(name, output_stride)
        options["output_stride"] = output_stride
    if pretrained:
        _can_download(name, cfg)
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except (RuntimeError, ValueError, AssertionError, TypeError, OSError) as error:
        if pretrained:
            raise UserError(f"the weights of {name!r} could not be downloaded: {_FILE_INSTEAD}") from error
        height, width = pre.size
        reason = str(error).partition("\n")[0]
        raise UserError(f"{name!r} cannot be built for inputs of {height}×{width}: {reason}") from error
    if type(getattr(network, "pre_logits", None)).__name__ == "ConvMlp":
        network.pre_logits = nn.Identity()  # VGG: its two layers of 4096 are part of the classifier
    return network


def classifier_prefixes(network: nn.Module) -> tuple[str, ...]:
    """How the tensors of a timm model's classifier start in a file."""
    cfg = getattr(network, "pretrained_cfg", None) or {}
    names = cfg.get("classifier") or ()
    names = (names,) if isinstance(names, str) else tuple(names)
    left_out = ("pre_logits",) if isinstance(getattr(network, "pre_logits", None), nn.Identity) else ()
    return tuple(f"{name}." for name in names + left_out)


def _pretrained_cfg(name: str) -> dict[str, Any]:
    import timm

    architecture, _, tag = name.partition(".")
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise UserError(f"timm has no weights {tag!r} of {architecture!r}: {suggest(tag, tags)}") from error
    return {} if cfg is None else dict(cfg.to_dict())


def _can_stride(name: str, output_stride: int) -> None:
    """Builds the model without memory, to say what is wrong with the stride and not with anything else."""
    import timm

    try:
        with torch.device("meta"):
            timm.create_model(name, num_classes=0, output_stride=output_stride)
    except (TypeError, AssertionError, RuntimeError, ValueError, NotImplementedError) as error:
        raise UserError(f"{name!r} has no output_stride {output_stride}: leave output_stride out") from error


def _can_download(name: str, cfg: dict[str, Any]) -> None:
    """Says at once what would else take the download library a minute of retries."""
    import timm
    from huggingface_hub import constants, try_to_load_from_cache

    if not timm.is_model_pretrained(name):
        raise UserError(f"timm has no weights of {name!r} to download: {_FILE_INSTEAD}")
    repository = cfg.get("hf_hub_id")
    cached = repository and isinstance(try_to_load_from_cache(repository, "model.safetensors"), str)
    if cached or urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError as error:
        raise UserError(
            f"the weights of {name!r} cannot be downloaded, there is no network: {_FILE_INSTEAD}"
        ) from error
