"""Rendering against slow references, one image at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from understudy.data.augmentation import Augmentation
from understudy.data.items import Items
from understudy.data.preprocessing import Preprocessing, decode
from understudy.data.render import render, samples_per_pixel
from understudy.data.views import Views

RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def preprocessing(size: int, channels: int = 1, resize: int | None = None, **more: Any) -> Preprocessing:
    mean, std = RGB if channels == 3 else ((0.5,), (0.25,))
    full = resize or size
    return Preprocessing(
        size=(size, size), resize=(full, full), channels=channels, mean=mean, std=std, **more
    )


def plain(size: int, channels: int = 1, **more: Any) -> Preprocessing:
    """Values come out from 0 to 255, so that they compare with images."""
    ones = (1 / 255,) * channels
    return preprocessing(size, channels, **more).model_copy(update={"mean": (0.0,) * channels, "std": ones})


def noise(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8, generator=generator)


def smooth(n: int, channels: int, size: int) -> Tensor:
    coarse = noise(n, channels, 5, 5).float()
    return (
        F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(0, 255).to(torch.uint8)
    )


def make(n: int, **settings: Any) -> Views:
    return Views(Augmentation(**settings), 1, torch.arange(n), torch.arange(n) + 5)


def test_clean_is_decode_and_normalise_to_the_bit() -> None:
    image = Image.fromarray(noise(1, 3, 50, 70)[0].permute(1, 2, 0).numpy())
    pre = preprocessing(32, channels=3, resize=36)
    decoded = decode(image, pre.resize, pre.mode, pre.interpolation, 3)
    found = render(torch.from_numpy(decoded)[None], None, pre)[0].numpy()
    for channel in range(3):
        scale = np.float32(1 / (255 * RGB[1][channel]))
        shift = np.float32(-RGB[0][channel] / RGB[1][channel])
        reference = decoded[channel, 2:34, 2:34].astype(np.float32) * scale + shift
        assert np.array_equal(found[channel], reference)
    textbook = (decoded[:, 2:34, 2:34] / 255 - np.array(RGB[0])[:, None, None]) / np.array(RGB[1])[
        :, None, None
    ]
    assert np.abs(found - textbook).max() < 1e-6


def test_all_off_samples_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    content, pre = noise(4, 1, 20, 20), preprocessing(20)
    clean = render(content, None, pre)

    def refuse(*_: Any, **__: Any) -> Tensor:
        raise AssertionError("a clean image was sampled")

    monkeypatch.setattr(F, "grid_sample", refuse)
    monkeypatch.setattr(F, "interpolate", refuse)
    assert torch.equal(render(content, make(4), pre), clean)
    assert torch.equal(render(content, make(4, num_views=3), pre), clean)
    with pytest.raises(AssertionError):
        render(content, make(4, flip=0.5), pre)


def test_no_movement_samples_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "grid_sample", None)
    render(noise(4, 1, 20, 20), make(4, brightness=0.5, erase=1), preprocessing(20))


def test_other_source_sizes_are_resized_with_antialiasing() -> None:
    content = smooth(2, 3, 60)
    pre = plain(24, 3, resize=30)
    for found, image in zip(render(content, None, pre), content, strict=True):
        reference = decode(Image.fromarray(image.permute(1, 2, 0).numpy()), (30, 30), "squash", "bicubic", 3)
        assert np.abs(found.numpy() - reference[:, 3:27, 3:27]).max() < 1.01  # Pillow rounds twice


def test_grey_becomes_rgb_and_rgb_grey() -> None:
    grey, colour = noise(3, 1, 8, 8), noise(3, 3, 8, 8)
    wide = render(grey, None, plain(8, 3))
    assert wide.shape == (3, 3, 8, 8)
    assert torch.equal(wide, grey.float().expand(-1, 3, -1, -1))
    narrow = render(colour, None, plain(8, 1))
    for found, image in zip(narrow, colour, strict=True):
        reference = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        assert np.abs(found[0].numpy() - np.asarray(reference)).max() <= 0.51


def test_the_same_tones_for_grey_as_one_channel_and_as_three() -> None:
    grey = noise(6, 1, 8, 8)
    views = make(6, brightness=0.3, contrast=0.3, saturation=0.9, hue=0.5, grayscale=0.5)
    one = render(grey, views, plain(8, 1))
    three = render(grey, views, plain(8, 3))
    as_rgb = render(grey.expand(-1, 3, -1, -1), views, plain(8, 3))
    assert torch.equal(three, one.expand(-1, 3, -1, -1))
    assert torch.allclose(as_rgb, three, atol=2e-2)
    colour = noise(6, 3, 8, 8)
    turned = render(colour, make(6, saturation=0.9, hue=0.5), plain(8, 1))  # both keep the luma
    assert torch.allclose(turned, render(colour, None, plain(8, 1)), atol=1e-3)


def test_a_flip_is_pillows() -> None:
    content = noise(20, 3, 12, 16)
    views = make(20, flip=0.5)
    pre = plain(12, 3).model_copy(update={"size": (12, 16), "resize": (12, 16)})
    flipped = 0
    for found, image, theta in zip(render(content, views, pre), content, views.geometry(), strict=True):
        pixels = Image.fromarray(image.permute(1, 2, 0).numpy())
        if theta[0, 0] < 0:
            pixels = pixels.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            flipped += 1
        assert np.abs(found.permute(1, 2, 0).numpy() - np.asarray(pixels)).max() < 0.01
    assert 0 < flipped < 20


def test_a_crop_is_pillows() -> None:
    content = smooth(10, 1, 48)
    views = make(10, crop_scale=(0.2, 0.9), crop_ratio=(0.8, 1.25))
    for found, image, theta in zip(render(content, views, plain(40)), content, views.geometry(), strict=True):
        wide, high, x, y = (float(theta[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        left, upper = max(0.0, 24 * (1 + x - wide)), max(0.0, 24 * (1 + y - high))
        box = (left, upper, min(48.0, 24 * (1 + x + wide)), min(48.0, 24 * (1 + y + high)))
        reference = Image.fromarray(image[0].numpy()).resize((40, 40), Image.Resampling.BILINEAR, box=box)
        assert np.abs(found[0].numpy() - np.asarray(reference)).mean() < 1
        assert (
            np.abs(found[0].numpy() - np.asarray(reference)).max() < 8
        )  # Pillow mixes in a little more at 1.2 : 1


def test_affine_is_torchvisions() -> None:
    from torchvision.transforms.v2 import functional as tv

    content = smooth(10, 1, 40)
    views = make(10, rotate=30, translate=0.1, zoom=(0.8, 1.25))
    for found, image, theta in zip(render(content, views, plain(40)), content, views.geometry(), strict=True):
        forward = torch.linalg.inv(torch.cat((theta.double(), torch.tensor([[0.0, 0.0, 1.0]]).double())))
        zoom = float(torch.linalg.det(forward[:2, :2]).sqrt())
        angle = float(torch.atan2(forward[1, 0], forward[0, 0]).rad2deg())
        shift = [float(20 * forward[0, 2]), float(20 * forward[1, 2])]
        settings = (angle, shift, zoom, [0.0, 0.0], tv.InterpolationMode.BILINEAR)
        reference = tv.affine_image(image.float(), *settings)
        inside = tv.affine_image(torch.ones(1, 40, 40), *settings) > 0.999  # outside, torchvision fills
        assert inside.float().mean() > 0.4
        assert (found - reference)[inside].abs().max() < 0.1


def test_a_rotation_of_an_oblong_image_is_a_rotation() -> None:
    # a disc stays a disc: were the rotation one of the square from -1 to 1, it would become an ellipse
    y, x = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(80) - 39.5, indexing="ij")
    disc = (255 * (15.5 - (x**2 + y**2).sqrt()).clamp(0, 1)).to(torch.uint8)[None, None]
    pre = plain(40).model_copy(update={"size": (40, 80), "resize": (40, 80)})
    views = make(5, rotate=45)
    for found in render(disc.expand(5, -1, -1, -1), views, pre):
        assert (found - disc[0]).abs().mean() < 1.5


def test_shear_moves_rows_sideways() -> None:
    line = torch.zeros(1, 1, 41, 41, dtype=torch.uint8)
    line[..., 20] = 255
    views = make(6, shear=30)
    for found, theta in zip(
        render(line.expand(6, -1, -1, -1), views, plain(41)), views.geometry(), strict=True
    ):
        columns = torch.arange(41) - 20.0
        for row in (5, 20, 35):
            centre = float((found[0, row] * columns).sum() / found[0, row].sum())
            assert abs(centre + float(theta[0, 1]) * (row - 20)) < 0.1  # the map goes from view to source


@pytest.mark.parametrize(
    ("settings", "name", "middle"),
    [({"brightness": 0.4}, "adjust_brightness", None), ({"saturation": 0.8}, "adjust_saturation", None),
     ({"contrast": 0.5}, "adjust_contrast", 127.5), ({"grayscale": 1.0}, "rgb_to_grayscale", None)],
)  # fmt: skip
def test_colours_are_torchvisions(settings: dict[str, Any], name: str, middle: float | None) -> None:
    from torchvision.transforms.v2 import functional as tv

    content = noise(8, 3, 10, 10)
    if middle is not None:  # where the mean is mid-grey, a contrast about mid-grey is torchvision's
        content = torch.cat((content, 255 - content), dim=3)
    views = make(8, **settings)
    pre = plain(10, 3).model_copy(update={"size": (10, content.shape[3]), "resize": (10, content.shape[3])})
    gains, _ = views.tone()
    saturations = 1 + 0.8 * (2 * views._uniform((12, 13))[:, 0] - 1)
    for place, found in enumerate(render(content, views, pre)):
        source = content[place].float() / 255
        if name == "rgb_to_grayscale":
            reference = tv.rgb_to_grayscale(source, num_output_channels=3)
        else:
            factor = float(saturations[place] if name == "adjust_saturation" else gains[place])
            reference = getattr(tv, name)(source, factor)
        assert (found - 255 * reference).abs().max() < 0.3  # torchvision's luma has four digits


def test_a_full_turn_of_the_hue_returns() -> None:
    content = noise(64, 3, 4, 4)
    views = make(64, hue=0.5)
    turned = render(content, views, plain(4, 3))
    u = views._uniform((13, 14))[:, 0]
    near_zero, near_half = (2 * u - 1).abs().argmin(), (2 * u - 1).abs().argmax()
    assert (turned[near_zero] - content[near_zero]).abs().mean() < 10
    assert (turned[near_half] - content[near_half]).abs().mean() > 25


def test_erased_pixels_are_zero_and_the_others_untouched() -> None:
    content, pre = noise(30, 3, 20, 20), preprocessing(20, channels=3)
    views = make(30, erase=0.5, erase_scale=(0.1, 0.3))
    clean = render(content, None, pre)
    for found, before, box in zip(render(content, views, pre), clean, views.erasing(), strict=True):
        left, upper, right, lower = box.tolist()
        for row in range(20):
            for column in range(20):
                inside = left <= (column + 0.5) / 20 < right and upper <= (row + 0.5) / 20 < lower
                expected = torch.zeros(3) if inside else before[:, row, column]
                assert torch.equal(found[:, row, column], expected)
    assert 0 < int((views.erasing()[:, 2] > 0).sum()) < 30


def test_one_view_at_two_sizes_depicts_the_same_region() -> None:
    content = smooth(12, 3, 96)
    views = make(12, crop_scale=(0.4, 1.0), flip=0.5, rotate=15, translate=0.1, brightness=0.2, hue=0.1)
    large = render(content, views, plain(96, 3, resize=112))
    small = render(content, views, plain(32, 3))
    difference = (F.avg_pool2d(large, 3) - small).abs()
    assert difference.mean() < 1
    other = render(content, views.independent(), plain(32, 3))
    assert (other - small).abs().mean() > 10


def test_without_a_crop_a_view_shows_the_centre_that_the_clean_image_shows() -> None:
    content = smooth(4, 1, 64)
    pre = plain(48, resize=64)
    barely = make(4, rotate=1e-4)
    assert torch.allclose(render(content, barely, pre), render(content, None, pre), atol=0.05)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_shrunk_view_averages_what_it_covers(factor: int) -> None:
    content = noise(3, 1, 20 * factor, 20 * factor)
    found = render(content, make(3, rotate=1e-5), plain(20))
    assert (found - F.avg_pool2d(content.float(), factor)).abs().max() < 0.2


def test_samples_per_pixel_follow_sizes_and_ranges_only() -> None:
    assert samples_per_pixel((40, 40), (40, 40), Augmentation(rotate=5)) == (1, 1)
    assert samples_per_pixel((79, 80), (40, 40), Augmentation(rotate=5)) == (1, 2)
    assert samples_per_pixel((128, 128), (40, 40), Augmentation(crop_scale=(0.1, 0.25))) == (1, 1)
    assert samples_per_pixel((40, 40), (40, 40), Augmentation(zoom=(0.5, 1.0))) == (2, 2)


def test_an_image_does_not_depend_on_its_batch() -> None:
    content = noise(9, 1, 40, 40)
    views = make(9, crop_scale=(0.5, 1.0), rotate=10, brightness=0.2, erase=0.5)
    pre = preprocessing(40)
    whole = render(content, views, pre)
    chosen = torch.tensor([8, 2, 2])
    assert torch.equal(render(content[chosen], views[chosen], pre), whole[chosen])


def test_rendering_never_looks_at_the_values() -> None:
    """Fake tensors have shapes and no values: any ``.item()`` or branch on data raises."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    settings = {
        "crop_scale": (0.5, 1.0),
        "flip": 0.5,
        "rotate": 9.0,
        "hue": 0.1,
        "grayscale": 0.1,
        "erase": 0.5,
    }
    render(noise(2, 3, 30, 30), make(2, **settings), preprocessing(20, 3))  # the constants are real
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        content = mode.from_tensor(noise(2, 3, 30, 30))
        views = Views(
            Augmentation(**settings), 0, torch.empty(2, dtype=torch.int64), torch.empty(2, dtype=torch.int64)
        )
        assert render(content, views, preprocessing(20, 3)).shape == (2, 3, 20, 20)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_captured_in_a_graph_with_new_numbers() -> None:
    content, pre = noise(16, 3, 40, 40).cuda(), preprocessing(32, 3)
    settings = {"crop_scale": (0.5, 1.0), "flip": 0.5, "rotate": 9.0, "hue": 0.1, "erase": 0.5}
    views = make(16, **settings).to("cuda")
    render(content, views, pre)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = render(content, views, pre)
    views.numbers.add_(100)
    graph.replay()
    fresh = Views(views.augmentation, views.seed, views.rows, views.numbers.clone())
    assert torch.equal(out, render(content, fresh, pre))
    on_cpu = render(content.cpu(), fresh.to("cpu"), pre)
    assert (out.cpu() - on_cpu).abs().mean() < 1e-3


def test_content_is_never_changed_and_other_types_are_refused() -> None:
    settings = {"flip": 0.5, "brightness": 0.3, "erase": 0.5}
    for channels in (1, 3):
        content = noise(4, channels, 20, 20)
        before = content.clone()
        for views in (None, make(4, **settings), make(4, brightness=0.3), make(4, erase=1)):
            for pre in (preprocessing(20), preprocessing(20, 3), preprocessing(12, channels, resize=16)):
                render(content, views, pre)
        assert torch.equal(content, before)
    with pytest.raises(ValueError, match="uint8"):
        render(content.float(), None, preprocessing(20))


@pytest.mark.parametrize("settings", [None, {"crop_scale": (0.4, 0.9), "rotate": 25, "erase": 0.9}])
@pytest.mark.parametrize("resize", [24, 27])
def test_items_in_a_mirror_are_rendered_first(settings: dict[str, Any] | None, resize: int) -> None:
    pre = preprocessing(24, channels=3, resize=resize)
    items = Items(torch.arange(6), noise(6, 3, 40, 30), None if settings is None else make(6, **settings))
    there = items.rendered(pre)
    assert torch.equal(there, render(items.content, items.views, pre))
    mirrored = items.in_mirror()
    assert torch.equal(mirrored.rendered(pre), there.flip(-1))
    assert torch.equal(mirrored[2:4].to("cpu").rendered(pre), there[2:4].flip(-1))
    assert torch.equal(mirrored.in_mirror().rendered(pre), there)
