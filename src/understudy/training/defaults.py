"""What is assumed where nothing was said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.config import merge
from understudy.data.augmentation import Augmentation
from understudy.errors import UserError

_GLYPHS = Augmentation(rotate=10.0, translate=0.06, zoom=(0.85, 1.15), shear=8.0)
_PHOTOS = Augmentation(
    crop_scale=(0.4, 1.0), crop_ratio=(0.75, 1.333), flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2
)

_GLYPH_STUDENT = {"backbone": "smallconv_16", "dim": 64}
_PHOTO_STUDENT = {"backbone": "mobilenetv3_small_050", "dim": 128}


def augmentation_for(source: str) -> Augmentation:
    """How images of a data set may vary: small affine maps of glyphs; crops, flips, colour of photos.

    Example:
        >>> augmentation_for("typefaces").flip, augmentation_for("photos/").flip
        (0.0, 0.5)
    """
    return _GLYPHS if source == "typefaces" else _PHOTOS


def complete(value: Mapping[str, Any], *, distils: bool) -> dict[str, Any]:
    """Adds the student, the teacher and the loss that suit the data where a configuration names none.

    Settings of the augmentation are laid over what suits the data, so that one of them can be changed.

    Args:
        value: A configuration's plain values.
        distils: Whether it needs a teacher and a distillation loss.

    Raises:
        UserError: It needs a teacher and the data set has none of its own.

    Example:
        >>> complete({}, distils=True)["teachers"]
        {'main': {'reference': 'packaged:typefaces'}}
    """
    value = dict(value)
    data = value.get("data", {})
    source = str(data.get("source", "typefaces") if isinstance(data, Mapping) else data)
    student = value.get("student", {})
    if isinstance(student, Mapping) and "backbone" not in student:
        value["student"] = merge(_GLYPH_STUDENT if source == "typefaces" else _PHOTO_STUDENT, student)
    if isinstance(value.get("augment"), Mapping):
        value["augment"] = merge(augmentation_for(source).model_dump(), value["augment"])
    teachers = value.get("teachers")
    main = teachers.get("main") if isinstance(teachers, Mapping) else None
    nameless = isinstance(main, Mapping) and "reference" not in main  # a recipe's settings, and no --teacher
    if distils and (not teachers or nameless):
        if source != "typefaces":
            raise UserError(
                "there is no teacher: pass --teacher, for example a saved model or timm:resnet50?weights=FILE"
            )
        settings = dict(main) if isinstance(main, Mapping) else {}
        value["teachers"] = {"main": {**settings, "reference": "packaged:typefaces"}}
    if distils and not value.get("losses") and not value.get("s2sd"):
        value["losses"] = ["default"]
    return value
