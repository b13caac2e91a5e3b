"""Image files of every kind, and files that are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from understudy.data.images import list_images, read_image
from understudy.errors import UserError

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_rgb_comes_back_to_the_bit(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "a.png")
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), NOISE)
    grey = read_image(str(tmp_path / "a.png"), channels=1)
    assert grey.mode == "L"
    assert np.array_equal(pixels(grey), pixels(Image.fromarray(NOISE).convert("L")))


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(NOISE[:, :, 0]).save(tmp_path / "a.png")
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), np.repeat(NOISE[:, :, :1], 3, axis=2))


def test_one_bit_becomes_black_and_white(tmp_path: Path) -> None:
    Image.fromarray(NOISE[:, :, 0] > 127).save(tmp_path / "a.png")
    assert np.array_equal(pixels(read_image(tmp_path / "a.png", channels=1)), (NOISE[:, :, 0] > 127) * 255)


def test_palettes_are_resolved(tmp_path: Path) -> None:
    image = Image.fromarray(NOISE).quantize(16)
    assert image.mode == "P"
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.gif")
    expected = pixels(image.convert("RGB"))
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), expected)
    assert np.array_equal(pixels(read_image(tmp_path / "a.gif")), expected)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert np.abs(pixels(read_image(tmp_path / "a.jpg")) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path, ending: str) -> None:
    deep = np.array([[0, 128, 256, 257], [32768, 65278, 65407, 65535]], dtype=np.uint16)
    if ending == "pgm":
        (tmp_path / "a.pgm").write_bytes(b"P5 4 2 65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(tmp_path / f"a.{ending}")
    found = pixels(read_image(tmp_path / f"a.{ending}", channels=1))
    assert found.tolist() == [[0, 0, 1, 1], [128, 254, 255, 255]]
    assert np.array_equal(found, np.rint(deep / 257))


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 3, 4), dtype=np.uint8)
    rgba[:, :, 0] = 200
    rgba[:, :, 3] = [0, 128, 255]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert (
        np.abs(
            pixels(read_image(tmp_path / "a.png"))[0] - [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
        ).max()
        <= 1
    )
    Image.fromarray(rgba).convert("LA").save(tmp_path / "b.png")
    assert pixels(read_image(tmp_path / "b.png", channels=1))[0, 0] == 255
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 1), 1)
    palette.save(tmp_path / "c.png", transparency=0)
    assert pixels(read_image(tmp_path / "c.png")).tolist() == [
        [[255] * 3, [255] * 3],
        [[255] * 3, [40, 50, 60]],
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :8] = 255  # white in the upper left corner
    as_stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), upright)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    assert pixels(read_image(tmp_path / "a.png")).tolist() == [[[1, 2, 3]]]


def test_boxes_are_cut_from_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(NOISE))).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(read_image(tmp_path / "a.png", box=(3, 5, 30, 20))), NOISE[5:20, 3:30])
    for box in ((0, 0, 33, 24), (0, 0, 32, 25), (5, 5, 5, 9), (-1, 0, 4, 4)):
        with pytest.raises(
            UserError, match=r"a.png' has 32 × 24 pixels and not the box .*: correct the manifest's 'box'"
        ):
            read_image(tmp_path / "a.png", box=box)


def saved(path: Path, kind: str) -> bytes:
    Image.fromarray(np.tile(NOISE, (4, 4, 1))).save(path, kind)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "bmp", "webp"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(saved(path, kind)[: len(path.read_bytes()) // 2])
    with pytest.raises(UserError, match=rf"cut.{kind}' is truncated or corrupt \(.*\): replace or remove it"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "tiff", "bmp", "webp", "ppm"])
def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bad.{kind}"
    good = np.frombuffer(saved(path, kind), dtype=np.uint8)
    for seed in range(25):
        random = np.random.default_rng(seed)
        bad = good.copy()
        places = random.integers(0, len(bad) if seed % 2 else min(200, len(bad)), 20)
        bad[places] = random.integers(0, 256, 20)
        path.write_bytes(bad.tobytes())
        try:
            read_image(path)
        except UserError as error:
            assert f"bad.{kind}" in str(error)  # noqa: PT017 - many damaged files are still readable


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"x.png' is empty \(0 bytes\): replace or remove it"),
        (b"hello, this is text", "x.png' is not an image, or of a kind that Pillow does not read"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_image(tmp_path / "x.png")


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.png' does not exist: check the path"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="cannot be opened"):
        read_image(tmp_path)


@pytest.mark.parametrize(
    ("pixel", "words"),
    [
        (np.float32(1), "floating-point numbers of unknown range"),
        (np.int32(70_000), "whole numbers from 70,000 to 70,000"),
        (np.int32(-1), "whole numbers from -1 to -1"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, pixel: np.generic, words: str) -> None:
    Image.fromarray(np.full((2, 2), pixel)).save(tmp_path / "a.tif")
    with pytest.raises(
        UserError, match=rf"a.tif' has neither 8 nor 16 bits \(its pixels are {words}\): convert"
    ):
        read_image(tmp_path / "a.tif")


def test_thirty_two_bits_that_hold_sixteen_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535]], dtype=np.int32)).save(tmp_path / "a.tif")
    assert pixels(read_image(tmp_path / "a.tif", channels=1)).tolist() == [[0, 255]]


def test_an_image_of_too_many_pixels_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (30, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    words = r"a.png' is too large \(Image size \(900 pixels\) exceeds limit of 800 pixels\): make it smaller"
    with pytest.raises(UserError, match=words):
        read_image(tmp_path / "a.png")


def test_lab_becomes_grey_by_way_of_rgb(tmp_path: Path) -> None:
    Image.new("LAB", (2, 2), (100, 128, 128)).save(tmp_path / "a.tif")
    colour = read_image(tmp_path / "a.tif")
    assert np.array_equal(pixels(read_image(tmp_path / "a.tif", channels=1)), pixels(colour.convert("L")))


def test_transparent_sixteen_bit_grey_shows_white(tmp_path: Path) -> None:
    grey = Image.fromarray(np.array([[1000, 1001]], dtype=np.uint16))
    grey.save(tmp_path / "a.png", transparency=1000)
    assert pixels(read_image(tmp_path / "a.png", channels=1)).tolist() == [[255, 4]]


def test_images_are_listed_in_order_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name in (
        "b/2.JPG",
        "b/10.png",
        "a.jpeg",
        "a/1.webp",
        ".hidden/1.png",
        "b/.x.png",
        "b/notes.txt",
        "c/d/e.tif",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == ["a.jpeg", "a/1.webp", "b/10.png", "b/2.JPG", "c/d/e.tif"]


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.png").touch()
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    assert list_images(tmp_path / "seen") == [tmp_path / "seen" / "link" / "1.png"]


def test_a_linked_folder_is_there_under_each_of_its_names(tmp_path: Path) -> None:
    for name in ("train/owl/1.png", "other/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "test").symlink_to("train", target_is_directory=True)
    (tmp_path / "train" / "ant").symlink_to("owl", target_is_directory=True)
    (tmp_path / "train" / "owl" / "up").symlink_to(tmp_path / "train", target_is_directory=True)
    (tmp_path / "other" / "here").symlink_to(".", target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)]
    assert found == [
        "other/2.png",
        "test/ant/1.png",
        "test/owl/1.png",
        "train/ant/1.png",
        "train/owl/1.png",
    ]


def test_a_loop_ends_where_the_folder_is_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.png").touch()
    (tmp_path / "a" / "b" / "back").symlink_to(tmp_path, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    assert list_images(".") == [Path("a/b/1.png")]


def test_a_name_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    try:
        os.close(os.open(os.fsencode(tmp_path) + b"/caf\xe9.png", os.O_CREAT | os.O_WRONLY))
    except OSError:
        pytest.skip("this file system knows no such names")
    with pytest.raises(UserError, match=r"the name of '.*caf\\udce9.png' is not UTF-8 text: rename it"):
        list_images(tmp_path)


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the folder '.*nowhere' does not exist"):
        list_images(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, not a folder"):
        list_images(tmp_path / "file")
