"""The data sets of the black-box bench: how each is prepared, who teaches, who learns, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniglot import TEACHER as OMNIGLOT_TEACHER


@dataclass(frozen=True)
class Setting:
    """One data set's part of the bench.

    Attributes:
        about: A sentence on data and models.
        prepare: The words of ``understudy prepare``; empty for data that ships with the package.
        source: What the configurations call the data, seen from the work folder.
        teacher: The words of ``understudy train`` that make the teacher; empty for the packaged one.
        base: What all students share.
        supervised: The loss on labels that the row of labels learns from.
        steps: Training steps of every row.
        rates: The learning rates that every method tries; one alone is taken as it is.
        split: The split that is measured; none: the data's own queries and gallery.
        metrics: The figures that the tables show; the first one is tested.
    """

    about: str
    prepare: str
    source: str
    teacher: str
    base: Mapping[str, Any]
    supervised: tuple[Any, ...]
    steps: int
    rates: tuple[float, ...]
    split: str | None
    metrics: tuple[str, ...]


_GLYPHS = {"rotate": 10, "translate": 0.06, "zoom": [0.85, 1.15], "shear": 8}
_DRAWINGS = {"rotate": 15, "translate": 0.08, "zoom": [0.85, 1.15], "shear": 10}
_PERSONS = {"flip": 0.5, "translate": 0.05, "erase": 0.5}
_SMALL = {
    "student": {"backbone": "smallconv_16", "dim": 64},
    "optim": {"name": "adamw", "lr": 0.01, "weight_decay": 0.01, "clip": 5.0},
    "precision": "fp32",
}
_MULTI_SIMILARITY = ({"name": "multi_similarity", "weight": 1.0},)
_REID = ({"name": "batch_hard_triplet", "args": {"margin": 0.3}}, {"name": "cross_entropy"})
_READ = "--student.mode squash --student.interpolation bicubic"

SETTINGS: dict[str, Setting] = {
    "omniglot": Setting(
        about=(
            "Drawings of 659 characters from alphabets never seen in training (Omniglot's evaluation set, "
            "20 each). The teacher, 313 k parameters and 128 dimensions, learned on four fifths of the "
            "background characters; the students have 21 k and 64."
        ),
        prepare="omniglot {folder} -o omniglot.parquet --pack 40x40,squash,grey,bilinear",
        source="omniglot.parquet",
        teacher=OMNIGLOT_TEACHER,
        base={**_SMALL, "augment": _DRAWINGS},
        supervised=_MULTI_SIMILARITY,
        steps=500,
        rates=(0.003, 0.01, 0.03),
        split="test",
        metrics=("recall@1", "map@r", "neighbour_overlap@10"),
    ),
    "market1501": Setting(
        about=(
            "Market-1501 by its own protocol. The teacher is an EfficientNet-Lite2 with 256 dimensions at "
            "256×128, trained from ImageNet weights on four fifths of the identities; the students are "
            "MobileNetV3-small-0.5 with 128 dimensions at 128×64, from random weights."
        ),
        prepare="market1501 {folder} -o market1501.parquet --partial --pack 128x64,squash,bicubic",
        source="market1501.parquet",
        teacher=(
            "--model tf_efficientnet_lite2 --student.dim 256 --student.weights {weights} "
            f"--student.input-size [256,128] --student.resize [256,128] {_READ} "
            "--supervised batch_hard_triplet --supervised cross_entropy --epochs 24 "
            "--sampler.batch-size 128 --optim.lr 0.0006 --optim.weight-decay 0.0005 "
            "--augment.crop-scale [1,1] --augment.crop-ratio [1,1] --augment.brightness 0 "
            "--augment.contrast 0 --augment.saturation 0 --augment.flip 0.5 --augment.translate 0.05 "
            "--augment.erase 0.5 "
            "--evaluation.split val --log-every 100 --checkpoint-every 1000"
        ),
        base={
            "student": {
                "backbone": "mobilenetv3_small_050",
                "dim": 128,
                "input_size": [128, 64],
                "resize": [128, 64],
                "mode": "squash",
                "interpolation": "bicubic",
            },
            "optim": {"name": "adamw", "lr": 0.002, "weight_decay": 0.0005, "clip": 5.0},
            "augment": _PERSONS,
        },
        supervised=_REID,
        steps=1500,
        rates=(0.002,),
        split=None,
        metrics=("map", "cmc@1"),
    ),
    "typefaces": Setting(
        about=(
            "Glyphs of scripts that no model has seen in training, 531 characters in 14 typefaces. The "
            "teacher is the packaged one; the students have 21 k parameters and 64 dimensions."
        ),
        prepare="",
        source="typefaces",
        teacher="",
        base={**_SMALL, "augment": _GLYPHS},
        supervised=_MULTI_SIMILARITY,
        steps=300,
        rates=(0.01,),
        split="test",
        metrics=("recall@1", "map@r", "neighbour_overlap@10"),
    ),
}
