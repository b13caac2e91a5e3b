"""Images in: manifest, decoded pixels, batches, augmented views."""

from __future__ import annotations

from understudy.data.augmentation import Augmentation
from understudy.data.batches import Batch, Batches
from understudy.data.dataset import Dataset, open_dataset
from understudy.data.decoding import decode_all
from understudy.data.images import list_images, read_image
from understudy.data.items import Items
from understudy.data.manifest import SPLITS, Manifest, read_manifest
from understudy.data.pixels import Pixels
from understudy.data.preprocessing import Preprocessing, decode
from understudy.data.render import render
from understudy.data.subsets import image_fraction, label_fraction, split_classes
from understudy.data.views import Views

__all__ = [
    "SPLITS",
    "Augmentation",
    "Batch",
    "Batches",
    "Dataset",
    "Items",
    "Manifest",
    "Pixels",
    "Preprocessing",
    "Views",
    "decode",
    "decode_all",
    "image_fraction",
    "label_fraction",
    "list_images",
    "open_dataset",
    "read_image",
    "read_manifest",
    "render",
    "split_classes",
]
