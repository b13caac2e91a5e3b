"""The examples of docs/teachers.md: a HuggingFace model and an open_clip tower, built from local files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from understudy.data.items import Items
from understudy.teachers import open_teacher

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SMALL = (
    "image_size=16&patch_size=8&hidden_size=8&num_hidden_layers=1&num_attention_heads=2&intermediate_size=8"
)
TOWER = {
    "embed_dim": 6,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1},
}


def images() -> Items:
    generator = torch.Generator().manual_seed(0)
    return Items(
        torch.arange(3), torch.randint(0, 256, (3, 3, 16, 16), generator=generator, dtype=torch.uint8)
    )


@pytest.mark.slow
def test_a_huggingface_model(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    place = f"python:{EXAMPLES / 'huggingface_teacher.py'}:vit"
    teacher, items = open_teacher(f"{place}?{SMALL}"), images()
    given = teacher.embed(items)
    assert (teacher.name, teacher.dim, teacher.queries, tuple(given.shape)) == ("vit", 8, 3, (3, 8))

    config = {key: int(value) for key, value in (part.split("=") for part in SMALL.split("&"))}
    model = transformers.ViTModel(transformers.ViTConfig(**config), add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path / "my-vit")
    pixels = (items.content.float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        tokens = model(pixel_values=pixels).last_hidden_state[:, 0]
    saved = open_teacher(f"{place}?directory={tmp_path / 'my-vit'}")
    torch.testing.assert_close(saved.embed(items), tokens, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(saved.embed(items), given)


@pytest.mark.slow
def test_an_open_clip_tower(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    config, weights = tmp_path / "tiny.json", tmp_path / "tiny.safetensors"
    config.write_text(json.dumps(TOWER))
    model = open_clip.CLIP(**TOWER).eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    items = images()
    place = f"python:{EXAMPLES / 'openclip_teacher.py'}:tower?config={config}"
    teacher = open_teacher(f"{place}&weights={weights}")
    mean, std = (
        torch.tensor(one).view(3, 1, 1)
        for one in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    pixels = (items.content.float() / 255 - mean) / std
    with torch.no_grad():
        expected = model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(teacher.embed(items), expected, atol=1e-5, rtol=1e-4)
    untrained = open_teacher(place).embed(items)
    torch.testing.assert_close(untrained.norm(dim=1), torch.ones(3))
    assert not torch.allclose(untrained, expected)
