"""From an image of any shape to the wanted pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from understudy.data.preprocessing import Preprocessing, decode

BICUBIC = Image.Resampling.BICUBIC


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


@pytest.mark.parametrize("size", [(1340, 20), (20, 1340)])
@pytest.mark.parametrize("resize", [(24, 24), (24, 12)])
def test_of_a_very_thin_image_only_what_is_kept_is_made(
    size: tuple[int, int], resize: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(*size).point(lambda value: 64 + value // 2)  # so that no filter leaves 0 to 255
    whole = image.resize((24 * 67, 24) if size[0] > size[1] else (resize[1], resize[1] * 67), BICUBIC)
    left, upper = round((whole.width - resize[1]) / 2), round((whole.height - resize[0]) / 2)
    wanted = whole.crop((left, upper, left + resize[1], upper + resize[0]))
    made: list[tuple[int, int]] = []
    resized = Image.Image.resize

    def watched(image: Image.Image, size: tuple[int, int], *args: Any, **named: Any) -> Image.Image:
        made.append(size)
        return resized(image, size, *args, **named)

    monkeypatch.setattr(Image.Image, "resize", watched)
    found = decode(image, resize).transpose(1, 2, 0)
    assert made == [(resize[1], resize[0])]
    assert np.abs(found.astype(int) - np.asarray(wanted).astype(int)).max() <= 2


def test_a_less_thin_image_is_the_same_to_the_bit() -> None:
    image = picture(640, 20)
    wanted = image.resize((24 * 32, 24), BICUBIC).crop((372, 0, 396, 24))
    assert np.array_equal(decode(image, (24, 24)).transpose(1, 2, 0), np.asarray(wanted))


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
