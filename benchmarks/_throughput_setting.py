"""What one row of the throughput table trains: networks, sizes, and images that lie on the device."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch

from understudy.data import Augmentation, Pixels
from understudy.models import Embedder, build_embedder
from understudy.training.defaults import augmentation_for

DIM, PER_CLASS = 128, 4
GLYPHS = "smallconv"
PHOTOS = Augmentation(crop_scale=(0.3, 1.0), crop_ratio=(0.75, 1.33), flip=0.5)
_SHARE = 0.1  # of the device's memory, for the images


@dataclass(frozen=True)
class Setting:
    """One row's networks and sizes.

    Attributes:
        student: Backbone.
        batch: Images in a batch, of this process.
        size: Height and width that the networks see.
        device: Where.
        seconds: How long a round of a measurement takes.
        images: How many images lie on the device, at most.
        rounds: How many rounds a measurement is the median of, besides one to warm up.
        compiles: Whether the bare step tries ``torch.compile``, and the package's loop uses it.
    """

    student: str
    batch: int
    size: tuple[int, int]
    device: torch.device
    seconds: float = 0.4
    images: int = 16_384
    rounds: int = 3
    compiles: bool = False

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def name(self) -> str:
        return f"{self.student}, batch {self.batch}, {self.size[0]} × {self.size[1]}"

    @property
    def resize(self) -> tuple[int, int]:
        """The images' own height and width: a seventh more than what is seen, so that crops have room."""
        return (
            self.size if self.student.startswith(GLYPHS) else (self.size[0] * 8 // 7, self.size[1] * 8 // 7)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (1 if self.student.startswith(GLYPHS) else 3, *self.resize)

    @property
    def augmentation(self) -> Augmentation:
        """Random crops and flips as published codes have them; the demo's affine maps for its networks."""
        return augmentation_for("typefaces") if self.student.startswith(GLYPHS) else PHOTOS

    def embedder(self, backbone: str, *, freeze_bn: bool = False) -> Embedder:
        """A network with random weights, ready to be trained where the row is measured."""
        model = build_embedder(
            {
                "backbone": backbone,
                "dim": DIM,
                "input_size": self.size,
                "resize": self.resize,
                "freeze_bn": freeze_bn,
            }
        ).to(self.device)
        if self.cuda:
            model.to(memory_format=torch.channels_last)
        return model

    def teacher(self, backbone: str) -> Embedder:
        """A network that is asked only."""
        return self.embedder(backbone).eval().requires_grad_(requires_grad=False)

    def autocast(self) -> torch.autocast:
        """bfloat16 on a GPU."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.cuda)


@dataclass(frozen=True)
class Images:
    """Decoded images on the device and their classes, four images each."""

    pixels: Pixels
    labels: np.ndarray


def noise(setting: Setting) -> Images:
    """Noise of the row's size: as many images as were asked for, or as a share of the memory holds."""
    room = setting.images
    if setting.cuda:
        memory = torch.cuda.get_device_properties(setting.device).total_memory
        room = min(room, int(_SHARE * memory) // math.prod(setting.shape))
    count = max(2, room // setting.batch) * setting.batch
    return _noise(count, setting.shape, setting.device)


@functools.lru_cache(maxsize=1)
def _noise(count: int, shape: tuple[int, int, int], device: torch.device) -> Images:
    tensor = torch.randint(0, 256, (count, *shape), dtype=torch.uint8, device=device)
    return Images(Pixels(tensor, torch.arange(count)), np.arange(count) // PER_CLASS)
