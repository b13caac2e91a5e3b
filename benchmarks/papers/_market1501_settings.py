"""Market-1501: who teaches, who learns, how long. The one place where these settings are changed.

`python benchmarks/papers/write_recipes.py` writes them into the package's recipes.
"""

from __future__ import annotations

from typing import Any

DATA = "market1501.parquet"
TEACHER_WEIGHTS = "tf_efficientnet_lite2.safetensors"
STUDENT_WEIGHTS = "tf_efficientnet_lite0.safetensors"

VIEWS = 16
"""Fixed views of each training image, about which the teacher is asked once."""

EPOCHS = 40
"""Of every row."""

TRIAL_EPOCHS = EPOCHS // 3
"""Of every run on the validation identities: a third."""

TEACHER_EPOCHS = 120
RATE = 0.012
"""The student's learning rate, chosen for the student alone: in a third of the epochs ahead of twice as much
by 3.7 points of mAP, in all of them level with it. Losses without labels did better at it by far."""

RATES = (RATE / 2, RATE, 2 * RATE)
RATES_WITHOUT_LABELS = (RATE / 4, RATE / 2, RATE)
SEEDS = 3
VAL_SEEDS = 2
"""Seeds of the final rows, and of curves on the validation identities."""

VAL_FRACTION = 0.2
CURVE_POINTS = 20
"""Evaluations on the validation identities along a run."""

LABELS: list[dict[str, Any]] = [
    {"name": "cross_entropy", "args": {"label_smoothing": 0.1}},
    {"name": "batch_hard_triplet", "args": {"margin": 0.3}},
]
"""What teacher and student learn from the identities."""

AUGMENT: dict[str, Any] = {
    "crop_scale": [0.7, 1.0],
    "crop_ratio": [0.9, 1.1],
    "flip": 0.5,
    "translate": 0.05,
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "erase": 0.5,
}
BATCHES: dict[str, Any] = {"batch_size": 128, "images_per_class": 4}


def _reading(height: int, width: int) -> dict[str, Any]:
    sides = [height, width]
    return {"input_size": sides, "resize": sides, "mode": "squash", "interpolation": "bicubic"}


_HEAD: dict[str, Any] = {"dim": 256, "pooling": "gem", "neck": "bn"}


TEACHER: dict[str, Any] = {
    "data": {"source": DATA, "val_fraction": 0.0, "resize": [128, 64]},  # as they were published
    "student": {
        "backbone": "tf_efficientnet_lite2",
        **_HEAD,
        "weights": TEACHER_WEIGHTS,
        **_reading(256, 128),
    },
    "supervised": LABELS,
    "sampler": BATCHES,
    "augment": AUGMENT,
    "optim": {"name": "adamw", "lr": 0.012, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "epochs": TEACHER_EPOCHS,
    "checkpoint_every": 1000,
    "log_every": 100,
    "evaluation": {"split": "auto"},
    "seed": 0,
}
"""The teacher of the final rows; see `on_validation` for the one with which everything is chosen."""

STUDENT: dict[str, Any] = {
    "data": {"source": DATA, "val_fraction": 0.0},
    "student": {
        "backbone": "tf_efficientnet_lite0",
        **_HEAD,
        "weights": STUDENT_WEIGHTS,
        **_reading(128, 64),
    },
    "supervised": LABELS,
    "sampler": BATCHES,
    "augment": {**AUGMENT, "num_views": VIEWS},
    "view_seed": 0,
    "optim": {"name": "adamw", "lr": RATE, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup": 0.1},
    "epochs": EPOCHS,
    "compile": "off",  # eighteen runs side by side would wait for their compilers longer than they win
    "checkpoint_every": 1000,
    "log_every": 100,
    "evaluation": {"split": "auto"},
}
"""What the students of all rows share."""

FINAL_TEACHERS: dict[str, Any] = {
    "main": {"reference": "table:teacher-views", "clean": "table:teacher-clean"}
}
VAL_TEACHERS: dict[str, Any] = {
    "main": {"reference": "table:teacher-val-views", "clean": "table:teacher-val-clean"}
}

ON_VALIDATION: dict[str, Any] = {"data": {"val_fraction": VAL_FRACTION}, "evaluation": {"split": "val"}}
"""Training on four fifths of the identities, measured on the other fifth."""

TRIAL: dict[str, Any] = {
    "data": {"val_fraction": VAL_FRACTION},
    "teachers": VAL_TEACHERS,
    "epochs": TRIAL_EPOCHS,
}
"""What is laid over a row's settings to choose among its candidates."""

SIZES: dict[str, dict[str, Any]] = {
    "EfficientNet-Lite0, 128×64": {},
    "EfficientNet-Lite0, 192×96": _reading(192, 96),
    "EfficientNet-Lite0, 256×128": _reading(256, 128),
    "MobileNetV3-small-0.5, 128×64, from scratch": {"backbone": "mobilenetv3_small_050", "weights": None},
}
"""The students of Table 5, laid over the usual one."""


def evaluation_steps(epochs: int) -> int:
    """Steps between evaluations of a run on four fifths of the identities, so that there are some 20."""
    per_epoch = (1 - VAL_FRACTION) * 12_936 / int(BATCHES["batch_size"])
    return max(1, round(epochs * per_epoch / CURVE_POINTS))


QUICK: dict[str, Any] = {
    "student": {
        "backbone": "smallconv_8",
        "dim": 8,
        "weights": None,
        "input_size": [16, 8],
        "resize": [16, 8],
    },
    "sampler": {"batch_size": 16, "images_per_class": 2},
    "augment": {"num_views": 2},
    "steps": 2,
    "precision": "fp32",
}
"""Laid over everything by `--quick`, which only shows that every part runs."""
