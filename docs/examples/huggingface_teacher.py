"""A HuggingFace vision model as a teacher.

    understudy distill --data photos/ --teacher \
        "python:docs/examples/huggingface_teacher.py:vit?directory=my-vit"

``my-vit`` is what ``save_pretrained`` wrote: ``config.json`` and ``model.safetensors``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from understudy.data import Preprocessing


class Vit:
    """Rendered images in, the class token of the last layer out."""

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        self.model = model.eval()
        self.preprocessing = preprocessing
        self.dim = int(model.config.hidden_size)
        self.normalised = False
        self.name = "vit"

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) float32 to (n, hidden size)."""
        tokens: Tensor = self.model(pixel_values=images).last_hidden_state
        return tokens[:, 0]

    def to(self, device: torch.device | str) -> Self:
        """Moves the model."""
        self.model.to(device)
        return self


def vit(directory: str | None = None, *, seed: int = 0, **config: Any) -> Vit:
    """The factory.

    Args:
        directory: A saved ``ViTModel``; none: an untrained one.
        seed: Of an untrained model's weights.
        **config: Settings of an untrained model's ``ViTConfig``, such as ``image_size=32``.
    """
    from transformers import ViTConfig, ViTModel

    if directory is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = ViTModel(ViTConfig(**config), add_pooling_layer=False)
    else:
        model = ViTModel.from_pretrained(
            Path(directory), local_files_only=True, use_safetensors=True, add_pooling_layer=False
        )
    side = int(model.config.image_size)
    half = (0.5, 0.5, 0.5)  # what ViTImageProcessor uses unless preprocessor_config.json says otherwise
    pre = Preprocessing(
        size=(side, side), resize=(side, side), mode="squash", interpolation="bilinear", mean=half, std=half
    )
    return Vit(model, pre)
