from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data.images import read_image
from understudy.data.preprocessing import decode
from understudy.data.render import render
from understudy.errors import UserError
from understudy.models import Embedder, build_embedder, encoding


@pytest.fixture(scope="module")
def model() -> Embedder:
    torch.manual_seed(0)
    return build_embedder({"backbone": "smallconv_8", "dim": 12}).eval()


@pytest.fixture(scope="module")
def arrays() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = [(50, 40), (40, 70), (40, 40), (7, 90), (64, 64), (41, 39), (1, 1)]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


@pytest.fixture
def files(arrays: list[np.ndarray], tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.png" for number in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return paths


def by_hand(model: Embedder, image: Image.Image) -> np.ndarray:
    pre = model.preprocessing
    pixels = decode(image, pre.resize, pre.mode, pre.interpolation, pre.channels)
    with torch.no_grad():
        row: np.ndarray = model.embed(render(torch.tensor(pixels)[None], None, pre))[0].numpy()
    return row


def test_paths_pictures_and_arrays_give_the_same_in_order(
    model: Embedder, arrays: list[np.ndarray], files: list[Path]
) -> None:
    expected = np.stack([by_hand(model, Image.fromarray(a).convert("L")) for a in arrays])
    for images in (
        files,
        [str(f) for f in files],
        [Image.fromarray(a) for a in arrays],
        arrays,
        tuple(arrays),
    ):
        for batch_size in (1, 3, 100):
            found = model.encode(images, batch_size=batch_size)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, atol=1e-5)
    mixed: list[encoding.OneImage] = [files[0], arrays[1], Image.fromarray(arrays[2])]
    np.testing.assert_allclose(model.encode(mixed), expected[:3], atol=1e-5)


def test_the_saved_preprocessing_is_applied_exactly() -> None:
    """Shorter side, centre crop and normalisation, against the steps written out."""
    model = build_embedder(
        {
            "backbone": "smallconv_8",
            "resize": (48, 48),
            "mode": "shorter",
            "channels": 3,
            "mean": (0.1, 0.2, 0.3),
            "std": (0.5, 0.6, 0.7),
        }
    ).eval()
    array = np.random.default_rng(0).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    small = np.asarray(Image.fromarray(array).resize((96, 48), Image.Resampling.BILINEAR))[:, 24:72][
        4:44, 4:44
    ]
    x = (small / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7])
    with torch.no_grad():
        expected = model.embed(torch.from_numpy(x).float().permute(2, 0, 1)[None])
    np.testing.assert_allclose(model.encode(array), expected.numpy(), atol=1e-5)


def test_vectors_are_normalised_unless_the_model_says_otherwise(arrays: list[np.ndarray]) -> None:
    for normalize in (True, False):
        model = build_embedder({"backbone": "smallconv_8", "dim": 12, "normalize": normalize})
        norms = np.linalg.norm(model.encode(arrays), axis=1)
        assert bool(np.allclose(norms, 1, atol=1e-5)) is normalize


def test_fewer_dimensions_are_normalised_again(model: Embedder, arrays: list[np.ndarray]) -> None:
    whole, part = model.encode(arrays), model.encode(arrays, dim=5)
    expected = whole[:, :5] / np.linalg.norm(whole[:, :5], axis=1, keepdims=True)
    np.testing.assert_allclose(part, expected, atol=1e-5)
    np.testing.assert_array_equal(model.encode(arrays, dim=12), whole)
    raw = build_embedder({"backbone": "smallconv_8", "dim": 12, "normalize": False})
    np.testing.assert_allclose(raw.encode(arrays, dim=5), raw.encode(arrays)[:, :5], atol=1e-6)


def test_one_image_of_any_kind_gives_one_row(
    model: Embedder, arrays: list[np.ndarray], files: list[Path]
) -> None:
    expected = model.encode(arrays)[:1]
    for image in (files[0], str(files[0]), Image.fromarray(arrays[0]), arrays[0], arrays[0][None]):
        np.testing.assert_allclose(model.encode(image), expected, atol=1e-5)
    grey = arrays[0][..., 0]
    np.testing.assert_array_equal(model.encode(grey), model.encode(grey[:, :, None]))


def test_nothing_gives_no_rows(model: Embedder) -> None:
    empty: list[encoding.OneImage] = []
    for nothing in (empty, (), np.zeros((0, 8, 8, 3), np.uint8), iter(empty)):
        found = model.encode(nothing, dim=7)
        assert found.shape == (0, 7)
        assert found.dtype == np.float32


def test_transparent_palette_and_turned_pictures_are_read_as_files_are(
    model: Embedder, tmp_path: Path
) -> None:
    generator = np.random.default_rng(1)
    clear = Image.fromarray(generator.integers(0, 256, (40, 40, 4), dtype=np.uint8))
    clear.save(tmp_path / "clear.png")
    palette = clear.convert("RGB").quantize(16)
    palette.save(tmp_path / "palette.png")
    turned = Image.fromarray(generator.integers(0, 256, (30, 50, 3), dtype=np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    for name in ("clear.png", "palette.png", "turned.png"):
        with Image.open(tmp_path / name) as picture:
            np.testing.assert_array_equal(model.encode(picture), model.encode(tmp_path / name))
    np.testing.assert_array_equal(model.encode(np.asarray(clear)), model.encode(tmp_path / "clear.png"))
    wide = Image.fromarray(generator.integers(0, 65536, (40, 40), dtype=np.uint16))
    wide.save(tmp_path / "wide.png")
    np.testing.assert_array_equal(model.encode(wide), model.encode(tmp_path / "wide.png"))


def test_the_model_is_left_as_it_was(arrays: list[np.ndarray]) -> None:
    model = build_embedder({"backbone": "smallconv_8", "dim": 12})
    model.train()
    model.get_submodule("backbone.layers.2").eval()
    modes = [m.training for m in model.modules()]
    statistics = {n: b.clone() for n, b in model.named_buffers()}
    model.encode(arrays)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(b, statistics[n]) for n, b in model.named_buffers())
    assert torch.is_grad_enabled()
    with pytest.raises(UserError):
        model.encode(["no such file.png"])
    assert [m.training for m in model.modules()] == modes


def test_memory_stays_bounded(model: Embedder) -> None:
    """No more than two batches are read ahead of the one being embedded."""
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        for _ in range(64):
            taken += 1
            yield np.zeros((4, 4), np.uint8)

    ahead: list[int] = []
    model.encode(endless(), batch_size=4, progress=lambda done, _total: ahead.append(taken - done))
    assert taken == 64
    assert max(ahead) <= 8


def test_progress_counts_up_to_the_total(
    model: Embedder, arrays: list[np.ndarray], capfd: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[int, int | None]] = []
    model.encode(arrays, batch_size=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    model.encode(iter(arrays), batch_size=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[3:] == [(4, None), (7, None)]
    model.encode(arrays, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "embedding" in err


def test_a_corrupt_file_is_named_and_stops_the_threads(model: Embedder, files: list[Path]) -> None:
    files[3].write_bytes(files[3].read_bytes()[:60])
    with pytest.raises(UserError, match=f"{files[3].name}' is truncated or corrupt"):
        model.encode(files, batch_size=2)
    deadline = time.monotonic() + 5
    while any("ThreadPool" in t.name for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any("ThreadPool" in t.name for t in threading.enumerate())


def test_a_picture_cut_short_is_numbered(
    model: Embedder, files: list[Path], arrays: list[np.ndarray]
) -> None:
    files[3].write_bytes(files[3].read_bytes()[:200])
    with Image.open(files[3]) as picture, pytest.raises(UserError, match="image 1 cannot be read"):
        model.encode([arrays[0], picture])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: [np.zeros((4, 4, 3), np.float32)],
            r"image 0 is an array \(4, 4, 3\) of float32: pass uint8",
        ),
        (
            lambda: [np.zeros((4, 4), np.uint8), np.zeros((3, 8, 8), np.uint8)],
            r"image 1 is an array \(3, 8, 8\)",
        ),
        (lambda: [np.zeros((0, 4), np.uint8)], r"image 0 is an array \(0, 4\)"),
        (lambda: [torch.zeros(3, 4, 4)], "image 0 is a Tensor: pass paths, PIL images or uint8 arrays"),
        (lambda: 7, "cannot embed a int: pass paths"),
        (lambda: "no such file.jpg", "'no such file.jpg' does not exist"),
        (lambda: ["."], "cannot be opened"),
    ],
)
def test_what_is_no_image_is_said_in_one_sentence(
    model: Embedder, make: Callable[[], encoding.Images], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        model.encode(make())


@pytest.mark.parametrize("dim", [0, 13, -1])
def test_a_dimension_the_model_does_not_have_is_refused(model: Embedder, dim: int) -> None:
    with pytest.raises(UserError, match=rf"dim = {dim}: this model's embeddings have 12 numbers"):
        model.encode([], dim=dim)


def test_a_batch_of_nothing_is_refused(model: Embedder) -> None:
    with pytest.raises(UserError, match="batch_size = 0: give at least 1"):
        model.encode([], batch_size=0)


def test_files_and_decoded_pixels_agree(model: Embedder, files: list[Path]) -> None:
    np.testing.assert_allclose(
        model.encode(files), np.stack([by_hand(model, read_image(f, channels=1)) for f in files]), atol=1e-5
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_another_device_is_used_and_left(model: Embedder, arrays: list[np.ndarray]) -> None:
    np.testing.assert_allclose(model.encode(arrays, device="cuda"), model.encode(arrays), atol=1e-3)
    assert next(model.parameters()).device.type == "cpu"
