"""How fast a model embeds, measured here and now."""

from __future__ import annotations

import time

import torch

from understudy.heap import kept_memory
from understudy.models.embedder import Embedder


def images_per_second(
    model: Embedder, *, batch_size: int = 128, seconds: float = 1.0, rounds: int = 8
) -> float:
    """Measures the forward pass on prepared random images; decoding and resizing are not in it.

    Args:
        model: The model, on the device to measure.
        batch_size: Images at a time.
        seconds: About how long to measure in all.
        rounds: The fastest of this many equal parts is given: whatever else runs can only slow a part down.

    Returns:
        Images per second.

    Example:
        >>> from understudy.models import build_embedder
        >>> images_per_second(build_embedder({"backbone": "smallconv_8", "dim": 8}), seconds=0.1) > 0
        True
    """
    pre = model.preprocessing
    device = next(model.parameters()).device
    images = torch.randn(batch_size, pre.channels, *pre.size, device=device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), kept_memory(device):  # as embedding does
            _timed(model, images, 2)
            repeats = max(1, int(seconds / rounds / max(1e-6, _timed(model, images, 1))))
            return batch_size * repeats / min(_timed(model, images, repeats) for _ in range(rounds))
    finally:
        model.train(training)


def _timed(model: Embedder, images: torch.Tensor, repeats: int) -> float:
    _wait(images)
    start = time.perf_counter()
    for _ in range(repeats):
        model(images)
    _wait(images)
    return time.perf_counter() - start


def _wait(images: torch.Tensor) -> None:
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
