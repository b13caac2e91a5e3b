"""The training step that the losses are measured beside: a MobileNet-class student on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def student_step(device: torch.device, batch: int, size: int, *, captured: bool) -> Callable[[], object]:
    """A step of forward, backward and fused AdamW in bf16, channels last."""
    torch.backends.cudnn.benchmark = True
    network = _network().to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.randn(batch, 3, size, size, device=device).to(memory_format=torch.channels_last)
    settings: dict[str, Any] = {"fused": True, "capturable": captured} if device.type == "cuda" else {}
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, **settings)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
            out = network(images)
        loss = F.normalize(out.float())[:, 0].mean()
        torch.autograd.backward(loss)
        optimiser.step()

    return step


def _network() -> nn.Module:
    """mobilenetv3_small_100 of timm, or torchvision's form of it where timm is not installed."""
    try:
        import timm
    except ImportError:
        from torchvision.models import mobilenet_v3_small

        return mobilenet_v3_small(weights=None, num_classes=512)  # type: ignore[no-any-return]
    network: nn.Module = timm.create_model("mobilenetv3_small_100", pretrained=False, num_classes=512)
    return network
