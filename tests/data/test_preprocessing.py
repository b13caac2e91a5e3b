"""From an image of any shape to the wanted pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from understudy.data.preprocessing import Preprocessing, decode


def picture(width: int, height: int, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[:, :, 0])


@pytest.mark.parametrize(("width", "height"), [(60, 60), (97, 61), (61, 97), (20, 33), (300, 40)])
def test_shorter_is_torchvisions_resize_and_centre_crop(width: int, height: int) -> None:
    from torchvision.transforms.v2 import functional as tv

    image = picture(width, height)
    resized = tv.resize(image, [32], interpolation=tv.InterpolationMode.BICUBIC)
    reference = np.asarray(tv.center_crop(resized, [32, 32])).transpose(2, 0, 1)
    assert np.array_equal(decode(image, (32, 32), "shorter", "bicubic", 3), reference)


def test_squash_is_pillows_resize() -> None:
    image = picture(50, 31, channels=1)
    reference = np.asarray(image.resize((20, 40), Image.Resampling.BILINEAR))[None]
    assert np.array_equal(decode(image, (40, 20), "squash", "bilinear", 1), reference)


def test_an_oblong_target_is_filled_and_cut_evenly() -> None:
    image = Image.new("L", (100, 100), 0)
    image.paste(255, (25, 0, 75, 100))  # the middle half in width
    pixels = decode(image, (256, 128), "shorter", "bilinear", 1)
    assert pixels.shape == (1, 256, 128)
    assert pixels.mean() > 250  # 128 of 256 columns remain: the white half


def test_the_right_size_is_left_as_it_is() -> None:
    image = picture(24, 16)
    assert np.array_equal(decode(image, (16, 24)), np.asarray(image).transpose(2, 0, 1))


def test_one_pixel_becomes_a_plain_image() -> None:
    assert (decode(Image.new("RGB", (1, 1), (9, 8, 7)), (5, 6))[:, 0, 0] == [9, 8, 7]).all()
    assert decode(Image.new("L", (1, 400), 5), (8, 8), channels=1).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": (40, 40), "resize": (32, 40)}, "smaller than size"),
        ({"size": (40, 40), "resize": (40, 40), "channels": 1}, "mean has 3 numbers for 1 channel"),
        ({"size": (0, 40), "resize": (40, 40)}, "size"),
        ({"size": (40, 40), "resize": (40, 40), "std": (1, 0, 1)}, "std"),
        ({"size": (40, 40), "resize": (40, 40), "crop": 1}, "crop"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Preprocessing.model_validate(settings)


def test_saved_and_read_back() -> None:
    pre = Preprocessing(size=(224, 112), resize=(256, 128), mode="squash", interpolation="lanczos")
    assert Preprocessing.model_validate_json(pre.model_dump_json()) == pre
