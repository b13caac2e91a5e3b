"""Published boxes on images that are turned when they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from understudy.data.images import UnreadableImageError, read_image
from understudy.data.layouts._boxes import fitted, upright


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_of_the_stored_pixels_holds_the_same_pixels_of_the_upright_image(
    tmp_path: Path, orientation: int
) -> None:
    stored = np.zeros((11, 7), dtype=np.uint8)
    stored[2:9, 1:3] = 255  # 7 × 2 white pixels, nearer to one corner
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    boxes, notes = fitted(tmp_path, ["a.png"], np.array([[1.0, 2.0, 3.0, 9.0]]))
    assert notes == []
    left, top, right, bottom = boxes[0].tolist()
    whole = np.asarray(read_image(tmp_path / "a.png", channels=1))
    part = np.asarray(read_image(tmp_path / "a.png", box=(left, top, right, bottom), channels=1))
    assert part.shape == ((7, 2) if orientation < 5 else (2, 7))
    assert (part == 255).all()
    assert int(whole.sum()) == int(part.sum())
    assert upright(tmp_path / "a.png", (0, 0, 1, 1))[0] == whole.shape[::-1]


def test_a_header_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UnreadableImageError, match=r"a.png' cannot be read as an image: unpack"):
        upright(tmp_path / "a.png", (0, 0, 1, 1))
