"""The ranges of the views: what is refused, and what counts as off."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from understudy.data.augmentation import Augmentation


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rotat": 10}, "rotat"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale goes from 0.9 down to 0.5: write the smaller number first"),
        ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"flip": 1.5}, "flip"),
        ({"hue": 0.6}, "hue"),
        ({"num_views": 0}, "num_views"),
    ],
)
def test_bad_settings_name_the_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Augmentation(**settings)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"crop_scale": (0.5, 1.0)}, "moves"),
        ({"crop_ratio": (0.75, 1.0)}, "moves"),
        ({"flip": 0.5}, "moves"),
        ({"rotate": 1}, "moves"),
        ({"translate": 0.1}, "moves"),
        ({"zoom": (1.0, 1.1)}, "moves"),
        ({"shear": 1}, "moves"),
        ({"brightness": 0.1}, "tones"),
        ({"contrast": 0.1}, "tones"),
        ({"saturation": 0.1}, "colours"),
        ({"hue": 0.1}, "colours"),
        ({"grayscale": 0.1}, "colours"),
        ({"erase": 0.1}, "erase"),
    ],
)
def test_each_setting_turns_its_part_on(settings: dict[str, Any], part: str) -> None:
    assert not getattr(Augmentation(), part)
    augmentation = Augmentation(**settings)
    assert getattr(augmentation, part)
    assert not augmentation.off


def test_a_number_of_views_alone_changes_nothing() -> None:
    assert Augmentation(num_views=4).off


def test_saved_and_read_back() -> None:
    augmentation = Augmentation(crop_scale=(0.2, 0.8), erase=0.25, num_views=8)
    assert Augmentation.model_validate_json(augmentation.model_dump_json()) == augmentation
