"""Data sets in the layouts their authors publish: read, counted, turned into manifests."""

from __future__ import annotations

from understudy.data.layouts import folder, omniglot
from understudy.data.layouts.prepared import Layout, Prepared

LAYOUTS = {
    "folder": Layout(
        folder.read, "any folder of images: SPLIT/CLASS/image.jpg, CLASS/image.jpg or image.jpg"
    ),
    "omniglot": Layout(omniglot.read, "Omniglot: background and evaluation alphabets", omniglot.recognises),
}

__all__ = ["LAYOUTS", "Layout", "Prepared"]
