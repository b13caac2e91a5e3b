"""The image tower of an open_clip model as a teacher.

    understudy distill --data photos/ --teacher \
        "python:docs/examples/openclip_teacher.py:tower?config=ViT-B-32.json&weights=open_clip_model.safetensors"

The configuration is a JSON file as open_clip keeps them (``embed_dim``, ``vision_cfg``, ``text_cfg``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from understudy.data import Preprocessing

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Tower:
    """Rendered images in, L2-normalised image embeddings out."""

    normalised = True
    name = "open_clip"

    def __init__(self, model: Any, dim: int, side: int) -> None:
        self.model = model.eval()
        self.dim = dim
        self.preprocessing = Preprocessing(
            size=(side, side), resize=(side, side), interpolation="bicubic", mean=MEAN, std=STD
        )

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 3, H, W) float32 to (n, embed_dim)."""
        embedding: Tensor = self.model.encode_image(images, normalize=True)
        return embedding

    def to(self, device: torch.device | str) -> Self:
        """Moves the model."""
        self.model.to(device)
        return self


def tower(config: str, weights: str | None = None, *, seed: int = 0) -> Tower:
    """The factory.

    Args:
        config: A JSON file with the model's configuration.
        weights: A safetensors file; none: an untrained model.
        seed: Of an untrained model's weights.
    """
    from open_clip import CLIP
    from safetensors.torch import load_file

    settings = json.loads(Path(config).read_text(encoding="utf-8"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLIP(**{key: settings[key] for key in ("embed_dim", "vision_cfg", "text_cfg")})
    if weights is not None:
        model.load_state_dict(load_file(weights))
    return Tower(model, settings["embed_dim"], settings["vision_cfg"]["image_size"])
