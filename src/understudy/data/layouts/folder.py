"""Any folder of images."""

from __future__ import annotations

from pathlib import Path

from understudy.data.folders import manifest_from_folder
from understudy.data.layouts.prepared import Prepared


def read(path: str | Path) -> Prepared:
    """Makes a manifest of a folder of images; see `understudy.data.folders.manifest_from_folder`.

    Raises:
        UserError: The folder does not exist or holds no image, or images stand both inside and beside folders
            named after splits.
    """
    return Prepared(manifest_from_folder(path))
