"""A setting that a loss cannot work with is refused when the loss is built, in one sentence that names it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from understudy.losses import LOSSES, build_loss

WHOLE = "as a whole number of at least"
# (loss, settings, what the sentence says)
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("soft_darkrank", {"list_length": 4.5}, f"needs list_length {WHOLE} 2, got 4.5"),
    ("hard_darkrank", {"list_length": 1.5, "tail": True}, f"needs list_length {WHOLE} 1, got 1.5"),
    ("hard_darkrank", {"alpha": math.inf}, "needs an alpha above 0, or 'auto', got inf"),
    ("soft_darkrank", {"num_samples": 2.5}, f"needs num_samples {WHOLE} 1, got 2.5"),
    ("soft_darkrank", {"num_samples": True}, f"needs num_samples {WHOLE} 1, got True"),
    ("soft_darkrank", {"method": "exact", "list_length": 25}, "at most 24 items, whose tables take"),
    ("soft_darkrank", {"beta": "3"}, "needs a beta above 0, got '3'"),
    ("correlation_congruence", {"order": 2.5}, f"needs order {WHOLE} 1, got 2.5"),
    ("correlation_congruence", {"gamma": math.inf}, "needs a finite gamma, got inf"),
    ("contextual_similarity", {"neighbours": 2.5}, f"needs neighbours {WHOLE} 2, got 2.5"),
    ("contextual_similarity", {"neighbours": 1}, f"needs neighbours {WHOLE} 2, got 1"),
    ("similarity_kl", {"temperature": math.inf}, "needs a finite temperature, got inf"),
    ("similarity_kl", {"temperature": True}, "needs a temperature above 0, got True"),
    ("soft_target", {"temperature": "4"}, "needs a temperature above 0, got '4'"),
    ("rkd_distance", {"delta": math.nan}, "needs a delta above 0, got nan"),
    ("interpolated", {"mixes": math.inf}, "needs a finite mixes, got inf"),
    ("interpolated", {"coefficient": ["beta", math.inf]}, "with a above 0, got ['beta', inf]"),
    (
        "interpolated",
        {"anchors": "original", "loss": {"name": "hard_darkrank", "args": {"queries": "first_half"}}},
        "and HardDarkRank is set to queries='first_half': set queries to 'all', or anchors to 'all'",
    ),
    ("contrastive", {"margin": "1"}, "needs a margin that is a finite number, got '1'"),
    ("contrastive", {"positive_margin": math.nan}, "needs a positive_margin that is a finite number"),
    ("verification", {"margin": math.inf}, "needs a margin that is a finite number, got inf"),
    ("batch_hard_triplet", {"margin": "0.1"}, "needs a margin that is a finite number, got '0.1'"),
    ("triplet", {"margin": None}, "needs a margin that is a finite number, got None"),
    ("lmnn", {"margin": "0.9"}, "needs a margin that is a finite number, got '0.9'"),
    ("lmnn", {"push": -0.1}, "needs a push of at least 0, got -0.1"),
    ("multi_similarity", {"base": "0.5"}, "needs a base that is a finite number, got '0.5'"),
    ("multi_similarity", {"alpha": math.inf}, "needs a finite alpha, got inf"),
    ("proxy_anchor", {"margin": "0.1"}, "needs a margin that is a finite number, got '0.1'"),
    ("proxy_anchor", {"num_classes": 4.5}, f"needs num_classes {WHOLE} 1, got 4.5"),
    ("tuple_contrastive", {"negatives": 1.5}, f"needs negatives {WHOLE} 1, got 1.5"),
    ("tuple_contrastive", {"margin": "0.85"}, "needs a margin that is a finite number, got '0.85'"),
    ("margin", {"upper_cutoff": 0.5}, "an upper_cutoff above its cutoff 0.5, or no negative is ever drawn"),
    ("margin", {"upper_cutoff": "1.4"}, "needs a upper_cutoff above 0, got '1.4'"),
    ("margin", {"num_classes": 0}, f"needs num_classes {WHOLE} 1, got 0"),
    ("l_softmax", {"blend": 0, "blend_minimum": 5}, "a blend_minimum of at most blend, from which it falls"),
    ("l_softmax", {"blend": -1}, "needs a blend of at least 0, got -1"),
    ("l_softmax", {"blend": 5, "blend_decay": 1.1}, "needs a blend_decay of at most 1, got 1.1"),
    ("l_softmax", {"margin": math.inf}, f"needs margin {WHOLE} 1, got inf"),
    ("l_softmax", {"margin": 2.5}, f"needs margin {WHOLE} 1, got 2.5"),
]


@pytest.mark.parametrize(("name", "args", "sentence"), MISTAKES)
def test_a_setting_out_of_range_is_one_sentence(name: str, args: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        build_loss(name, args, num_classes=4, dim=8)
    assert str(caught.value).startswith((name, "the exact divergence"))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rkd_distance", {"delta": math.inf}),
        ("rkd_angle", {"delta": math.inf}),
        ("batch_hard_triplet", {"margin": 0}),
        ("multi_similarity", {"margin": math.inf}),
        ("margin", {"num_classes": None, "upper_cutoff": None}),
        ("soft_darkrank", {"method": "exact", "list_length": 24}),
        ("soft_darkrank", {"list_length": 25}),
        ("l_softmax", {"blend": 5, "blend_minimum": 5}),
        ("interpolated", {"loss": {"name": "hard_darkrank", "args": {"queries": "first_half"}}}),
    ],
)
def test_what_means_something_is_taken(name: str, args: dict[str, Any]) -> None:
    build_loss(name, args, num_classes=4, dim=8)


def test_every_loss_takes_its_defaults() -> None:
    for name in LOSSES:
        build_loss(name, num_classes=4, dim=8, student_channels=3, teacher_channels=3)
