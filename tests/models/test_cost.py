from __future__ import annotations

import pytest
import torch
from torch import nn

from understudy.models import build_embedder, count_macs, count_parameters, model_card


def test_a_network_counted_by_hand() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 8·3·9 at 5×5
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 8·9 at 5×5
        nn.Conv2d(8, 4, 1, bias=False),  # 4·8 at 5×5
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 7),
    )
    assert count_macs(network, (3, 10, 10)) == 25 * (216 + 72 + 32) + 28
    assert count_parameters(network) == 216 + 8 + 16 + 72 + 8 + 32 + 28 + 7


def test_attention_counts_its_products() -> None:
    """Query, key, value and output: 4·n·d²; scores and their use: 2·n²·d."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(6, 24, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            query, key, value, _ = self.project(x.flatten(2).transpose(1, 2)).chunk(4, dim=-1)
            out: torch.Tensor = nn.functional.scaled_dot_product_attention(query, key, value)
            return out

    assert count_macs(Attention(), (6, 5, 1)) == 4 * 5 * 36 + 2 * 25 * 6


@pytest.mark.parametrize(
    ("name", "macs", "parameters"),
    [
        ("mobilenetv2_100", 300e6, 2.22e6),
        ("resnet50", 4.1e9, 23.5e6),
        ("vit_tiny_patch16_224", 1.26e9, 5.5e6),
    ],
)
def test_published_networks(name: str, macs: float, parameters: float) -> None:
    model = build_embedder(name)
    assert count_macs(model) == pytest.approx(macs, rel=0.01)
    assert count_parameters(model) == pytest.approx(parameters, rel=0.01)


def test_a_classifier_costs_nothing_and_modes_are_kept() -> None:
    bare = build_embedder({"backbone": "smallconv_8", "dim": 12})
    whole = build_embedder({"backbone": "smallconv_8", "dim": 12}, classes=["a", "b"])
    whole.backbone.eval()
    assert count_macs(whole) == count_macs(bare)
    assert count_parameters(whole) == count_parameters(bare) == sum(p.numel() for p in bare.parameters())
    assert whole.training
    assert not whole.backbone.training


def test_a_network_without_a_known_input_needs_a_shape() -> None:
    with pytest.raises(ValueError, match="needs the input's shape"):
        count_macs(nn.Linear(1, 1))


def test_a_card_says_how_it_was_made() -> None:
    model = build_embedder({"backbone": "smallconv_8", "dim": 12})
    card = model_card(
        model, title="Tiny", text="Made by hand.\n", metrics={"recall@1": 0.25, "seeds": 3, "per class": [1]}
    )
    assert card.startswith("# Tiny\n\nMade by hand.\n\n| | |\n")
    assert "| parameters | 4,996 |" in card
    assert "| recall@1 | 0.2500 |\n| seeds | 3 |\n" in card
    assert "per class" not in card
