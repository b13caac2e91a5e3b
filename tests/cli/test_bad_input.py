"""What a user can get wrong: one sentence on standard error, status 2, and nothing half-written."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from understudy.data.preprocessing import decode
from understudy.training.journal import Journal

Command = Callable[..., Any]
MODEL = ("--model", "smallconv_8", "--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2)


def tree(place: Path) -> dict[str, bytes | None]:
    """Every file and folder, hidden ones too, with the files' content."""
    return {
        str(path.relative_to(place)): path.read_bytes() if path.is_file() else None
        for path in sorted(place.rglob("*"))
    }


@pytest.fixture
def refused(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls a command that must be refused, and gives its sentence."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> str:
        before = tree(tmp_path)
        done = command(*words)
        assert done.status == 2, done
        assert done.out == ""
        *progress, sentence = done.err.splitlines()
        assert not any("Traceback" in line or line.startswith("error") for line in progress)
        assert sentence.startswith("error: ")
        assert tree(tmp_path) == before
        return str(sentence).removeprefix("error: ")

    return call


@pytest.fixture
def train(refused: Callable[..., str]) -> Callable[..., str]:
    return lambda data, *words: refused("train", "--data", data, *MODEL, *words, "--out", "run")


def test_a_place_without_images(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.txt").write_text("x")
    (tmp_path / "file.png").write_bytes(b"")
    assert train("no/where").startswith("'no/where' is neither a manifest (.csv, .parquet) nor a folder")
    assert train("typefces").endswith("did you mean 'typefaces'?")
    assert train("no/where.csv") == "the manifest 'no/where.csv' does not exist: check the path"
    for place in ("empty", "text"):
        assert train(place) == f"'{place}' holds no images: put some into it or pass another folder"
    assert "ends in neither .csv nor .parquet" in train("file.png")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
        (lambda path: path.write_bytes(b"no image at all"), "is not an image"),
        (lambda path: path.write_bytes(path.read_bytes()[:150]), "is truncated or corrupt"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:60] + b"\0" * 40 + path.read_bytes()[100:]),
            "corrupt",
        ),
        (lambda path: (path.unlink(), path.symlink_to("gone.png")), "does not exist"),
    ],
    ids=["empty", "text", "truncated", "corrupt", "gone"],
)
def test_an_unreadable_image(
    train: Callable[..., str],
    command: Command,
    folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], object],
    what: str,
) -> None:
    damage(folder / "class03" / "2.png")
    damage(folder / "class04" / "5.png")
    sentence = train(folder)
    assert sentence.startswith("2 of 48 images cannot be read (")
    assert "class03/2.png" in sentence
    assert what in sentence
    assert sentence.endswith("mend or remove them, or skip unreadable images (skip_unreadable)")
    skipped = command(
        "train", "--data", folder, *MODEL, "--data.skip-unreadable", "true", "--out", tmp_path / "run"
    )
    assert skipped.status == 0
    assert "2 of 48 images cannot be read" in skipped.err
    assert "are left out" in skipped.err


def test_images_of_every_kind_are_taken(command: Command, folder: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    grey = Image.fromarray(generator.integers(0, 256, (16, 16), dtype=np.uint8))
    deep = Image.fromarray(generator.integers(0, 65536, (16, 16)).astype(np.uint16))
    for number, (image, ending) in enumerate(
        [
            (grey, "png"),
            (grey.convert("P"), "gif"),
            (grey.convert("RGB").convert("CMYK"), "jpg"),
            (deep, "png"),
            (grey.convert("LA"), "png"),
            (grey.convert("RGBA"), "webp"),
            (grey.convert("1"), "bmp"),
            (Image.new("RGB", (1, 1)), "png"),
            (Image.new("L", (300, 2)), "tif"),
        ]
    ):
        image.save(folder / f"class{number % 8:02d}" / f"odd{number}.{ending}")
    for channels in (1, 3):
        words = ("--data", folder, *MODEL, "--student.channels", channels, "--student.mean")
        mean = str([0.5] * channels)
        done = command("train", *words, mean, "--student.std", mean, "--out", tmp_path / f"run{channels}")
        assert done.status == 0, done.err


HEAD = "path,label,split\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'m.csv' is empty: its first line must name the columns"),
        (HEAD, "'m.csv' has a header and no rows: add one row an item"),
        ("path,label\na.png,x\n", "'m.csv' has no column 'split'"),
        ("path,lable,split\na.png,x,train\n", "'m.csv' has no column 'label' .*: rename 'lable'"),
        (
            HEAD + "a.png,x,train\nb.png,x,trian\n",
            "'m.csv', line 3, split: 'trian' is not a split: did you mean 'train'",
        ),
        (HEAD + "a.png,x,train\na.png,x,test\n", "'m.csv', line 3, path: 'a.png' is there already in line 2"),
        (HEAD + ",x,train\n", "'m.csv', line 2, path: it is empty"),
        (HEAD + "a.png,x\n", "'m.csv', line 2: 2 fields under 3 columns"),
        ("path,label,split,box\na.png,x,train,1 2 3\n", "'1 2 3' is not four whole numbers"),
        (HEAD + "a.png,x,test\nb.png,x,test\n", "'m.csv' has no training images: check its `split` column"),
        (
            "text,label,split\nhello,x,train\nyou,x,train\nwe,y,val\nus,y,val\n",
            "holds texts, and 'smallconv_8' embeds images",
        ),
        (
            HEAD + "".join(f"{n}.png,{n // 4},train\n" for n in range(12)),
            r"12 of 12 images cannot be read \('0.png' does not exist; .* and 9 more\): mend or remove them",
        ),
    ],
)
def test_a_manifest_with_a_mistake(
    train: Callable[..., str], tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert re.search(sentence, train("m.csv"))


def test_a_manifest_that_is_no_parquet(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1 but not really")
    assert train("m.parquet").startswith("'m.parquet' is not a Parquet file that can be read")


def shrink(folder: Path, classes: range, images: int) -> None:
    for number in classes:
        for extra in sorted((folder / f"class{number:02d}").iterdir())[images:]:
            extra.unlink()


def test_a_class_with_one_image_is_left_out(command: Command, folder: Path, tmp_path: Path) -> None:
    shrink(folder, range(3), 1)
    done = command("train", "--data", folder, *MODEL, "--out", tmp_path / "run")
    assert done.status == 0, done.err


def test_classes_of_one_image_alone(train: Callable[..., str], folder: Path) -> None:
    shrink(folder, range(8), 1)
    assert train(folder).startswith("no class has two training images, so there is nothing to compare")


def test_what_could_not_be_measured_at_the_end_is_refused_at_the_start(
    train: Callable[..., str],
    command: Command,
    tmp_path: Path,
    taught: Path,
    make_images: Callable[..., Path],
) -> None:
    images = make_images(tmp_path / "images", splits=("train", "test"))
    for directory in (images / "test").iterdir():
        for extra in sorted(directory.iterdir())[1:]:
            extra.unlink()
    assert train(images).startswith("no class has two images in the split 'test', on which the run is to be")
    assert train(images, "--evaluation.split", "val", "--data.val-fraction", 0).startswith(
        "the split 'val', on which"
    )
    words = (
        "--data",
        images,
        "--teacher",
        taught / "teacher" / "model",
        "--student",
        "smallconv_8",
        *MODEL[2:],
    )
    assert command("distill", *words, "--out", tmp_path / "run").status == 0  # agreement needs no label


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sampler.images-per-class", 8), "images_per_class is 8 but the largest class has 6 image(s)"),
        (("--sampler.images-per-class", 3), "sampler.batch_size 128 is not a multiple of"),
        (("--sampler.kind", "cross_camera_pairs"), "needs a `camera` column"),
        (("--model", "smalconv_8"), "there is no backbone named 'smalconv_8': did you mean 'smallconv_8'?"),
        (("--model", "mobilenetv3_smal_050"), "did you mean 'mobilenetv3_small_050'?"),
        (
            ("--supervised", "multi_similarty"),
            "no loss named 'multi_similarty': did you mean 'multi_similarity'?",
        ),
        (("--supervised", "multi_similarity=much"), "'multi_similarity=much' is not NAME or NAME=WEIGHT"),
        (("--supervised", "none"), "there is nothing to learn from"),
        (("--supervised", "pkt"), "'pkt' learns from a teacher"),
        (("--preset", "darkrank_bse"), "did you mean 'darkrank_base'?"),
        (("--optim.lrr", 1), "no such option: --optim.lrr"),
        (("--optim.lr", "fast"), "'optim.lr' does not fit ('fast')"),
        (("--optim.lr", -1), "'optim.lr' does not fit (-1)"),
        (("--optim.betas", "[1,2]"), "'optim.betas.0' does not fit (1)"),
        (("--epochs", "inf"), "'epochs' does not fit"),
        (("--seed", 2**70), "'seed' does not fit"),
        (("--schedule.name", "cosin"), "'schedule.name' does not fit ('cosin')"),
        (("--student.input-size", "[16"), "'student.input_size' does not fit"),
        (("--device", "cuda:99"), "the device 'cuda:99' cannot be used here: pass 'cpu' or 'auto'"),
        (("--device", "gpu"), "the device 'gpu' cannot be used here"),
        (("--data.val-fraction", 1.5), "'data.val_fraction' does not fit"),
        (("--student.weights", "no.pth"), "'no.pth'"),
        (("--s2sd.base", "margn"), "did you mean 'margin'?"),
    ],
)
def test_settings_that_do_not_fit(
    train: Callable[..., str], taught: Path, words: tuple[object, ...], sentence: str
) -> None:
    assert sentence.lower() in train(taught / "images", *words).lower()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1\nb: 2", "'run.yaml' is not valid YAML at line 2: mend it there"),
        ("- a\n", "'run.yaml' must hold `key: value` lines, not list"),
        ("", "'run.yaml' must hold `key: value` lines, not NoneType"),
        ("epoch: 3", "run.yaml: there is no key 'epoch': did you mean 'epochs'?"),
        ("optim: {momentun: 1}", "run.yaml: there is no key 'momentun' in 'optim': did you mean 'momentum'?"),
        ("student: {dim: 4}\nteachers: {a: x}\nlosses: [{nme: pkt}]", "there is no key 'nme'"),
        ("steps: many", "run.yaml: 'steps' does not fit ('many')"),
        ("losses: [pkt]", "the loss 'pkt' needs a teacher: add one under `teachers`"),
        ("optim: fast", "run.yaml: 'optim' does not fit ('fast')"),
        ("data: [a, b]", "run.yaml: 'data' does not fit"),
        ("supervised: multi_similarity", "run.yaml: 'supervised' does not fit"),
        ("teachers: [x]", "run.yaml: 'teachers' does not fit"),
        ("s2sd: {}\nsupervised: [margin]", "`s2sd` brings its own supervised loss"),
    ],
)
def test_a_configuration_with_a_mistake(
    refused: Callable[..., str], tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert sentence in refused("train", "run.yaml", "--out", "run")


def test_a_configuration_that_is_no_file(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "there is no file 'no.yaml'" in refused("train", "no.yaml", "--out", "run")
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot read 'folder.yaml'" in refused("train", "folder.yaml", "--out", "run")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--teacher", "no/teacher"), "there is no model directory 'no/teacher': check the path"),
        (("--teacher", "packaged:typefcs"), "no packaged teacher named 'typefcs': did you mean 'typefaces'?"),
        (("--teacher", "timm:resnet5O?weights=random"), "did you mean 'resnet50'?"),
        (("--teacher", "onnx:file.onnx"), "teachers of kind 'onnx:' are not available in this version"),
        (("--teacher", "{images}"), "has no config.json: it is no saved model"),
        ((), "there is no teacher: pass --teacher"),
        (("--teacher", "{teacher}", "--loss", "hard_darkrnk"), "did you mean 'hard_darkrank'?"),
        (("--teacher", "{teacher}", "--loss", "triplet"), "put it under `supervised`, not `losses`"),
        (("--teacher", "{teacher}", "--loss", "hint"), "'hint' compares feature maps: set its `maps`"),
        (
            ("--teacher", "timm:smallconv_8?weights=random", "--loss", "soft_target"),
            "needs the teacher's logits",
        ),
    ],
)
def test_a_teacher_that_cannot_teach(
    refused: Callable[..., str], taught: Path, words: tuple[str, ...], sentence: str
) -> None:
    places = {"images": taught / "images", "teacher": taught / "teacher" / "model"}
    filled = (word.format(**places) for word in words)
    student = ("--student", "smallconv_8", *MODEL[2:])
    assert sentence in refused("distill", "--data", taught / "images", *student, *filled, "--out", "run")


def test_an_output_directory_that_exists(refused: Callable[..., str], taught: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    words = ("--data", taught / "images", *MODEL, "--out", "run")
    assert (
        refused("train", *words) == "'run' exists already: pass another --out, or --resume to go on with it"
    )
    assert "is not a run directory" in refused("train", *words, "--resume")
    assert "is not a study" in refused("compare", "demo", "--out", "run")
    assert "exists already" in refused("train", *words[:-1], "run/mine.txt")


def test_an_output_that_cannot_be_a_directory(
    refused: Callable[..., str], taught: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    sentence = refused("train", "--data", taught / "images", *MODEL, "--out", "file/run")
    assert sentence.startswith("cannot write 'file/run'")
    assert sentence.endswith("pass a place you may write to")


def test_no_space(refused: Callable[..., str], taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    sentence = refused("train", "--data", taught / "images", *MODEL, "--out", "run")
    assert sentence.startswith("no space left while writing 'run': free some space")
    model = taught / "teacher" / "model"
    assert "no space left while writing" in refused("embed", model, taught / "images", "--out", "table")
    assert "no space left while writing" in refused("prepare", "folder", taught / "images", "--out", "m.csv")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nonsense",), "error: no such command 'nonsense': see understudy --help"),
        (("compare", "typefcs"), "there is no study 'typefcs'"),
        (("compare", "no.yaml"), "there is no file 'no.yaml'"),
        (("prepare", "omniglt", "."), "no data-set layout named 'omniglt': did you mean 'omniglot'?"),
        (("prepare", "folder", "no/where"), "the folder 'no/where' does not exist: check the path"),
    ],
)
def test_words_that_mean_nothing(refused: Callable[..., str], words: tuple[str, ...], sentence: str) -> None:
    assert sentence.removeprefix("error: ") in refused(*words)


def test_an_interrupted_run_says_how_to_go_on(
    command: Command, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "--data", taught / "images", *MODEL[:-1], 50, "--out", tmp_path / "run")

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "rewind", interrupt)  # the first thing inside the guarded part
        stopped = command(*words)
    assert stopped.status == 1
    assert stopped.err.splitlines()[-1] == (
        "stopped by SIGINT after step 1 of 50: run the same command again (train and distill with --resume)"
    )
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoints", "config.yaml"]
    assert command(*words, "--resume").status == 0


def test_an_interrupt_while_images_are_read_leaves_nothing(
    command: Command, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*words: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return decode(*words)

    monkeypatch.setattr("understudy.data.pixels.decode", interrupt)
    done = command("train", "--data", taught / "images", *MODEL, "--out", tmp_path / "run")
    assert (done.status, done.err.splitlines()[-1]) == (1, "interrupted")
    assert list(tmp_path.iterdir()) == []


def study(**value: Any) -> str:
    base = {
        "name": "tiny",
        "base": {"student": "smallconv_8", "steps": 1},
        "rows": [{"name": "a"}, {"name": "b", "config": {"seed": 1}}],
        "seeds": 2,
    }
    return yaml.safe_dump({**base, **value})


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"rows": []}, "'rows' does not fit ([])"),
        ({"rows": [{"name": "a"}, {"name": "a"}]}, "two rows are named 'a': give each its own name"),
        ({"rows": [{"name": "A b"}, {"name": "a-B"}]}, "the rows 'A b' and 'a-B' are too alike"),
        ({"rows": [{"name": "!"}]}, "the row's name '!' has no letter or digit"),
        ({"rows": [{"nme": "a"}]}, "there is no key 'nme'"),
        (
            {"rows": [{"name": "a", "config": {"stps": 1}}]},
            "row 'a': there is no key 'stps': did you mean 'steps'",
        ),
        ({"rows": [{"name": "t", "teacher": "main"}]}, "no row is trained: add one without `teacher`"),
        ({"seeds": 0}, "does not fit (0)"),
        ({"seeds": []}, "`seeds` must be one or more, each once, not []"),
        ({"seeds": [1, 1]}, "`seeds` must be one or more, each once, not [1, 1]"),
        ({"tests": [["a", "c"]]}, "`tests` names a row 'c' that is not trained"),
        (
            {"metrics": ["recal@1"]},
            "`metrics` has 'recal@1', which no row measures: did you mean 'recall@1'?",
        ),
        ({"rows": [{"name": "a", "choose": {"among": []}}]}, "does not fit ([])"),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}], "seeds": [1]}}]},
            "'a' chooses with seed 1, with which",
        ),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}], "metric": "map@k"}}]},
            "row 'a': choose.metric 'map@k' is not measured: did you mean 'map@r'?",
        ),
        (
            {"rows": [{"name": "a", "choose": {"among": [{}, {"losses": ["pkt"]}]}}]},
            "row 'a': the loss 'pkt' needs a teacher",
        ),
        (
            {"rows": [{"name": "a"}, {"name": "b", "config": {"student": "smalconv_8"}}]},
            "row 'b': there is no backbone",
        ),
        (
            {"rows": [{"name": "a"}, {"name": "t", "teacher": "mian"}]},
            "row 't': there is no teacher named 'mian'",
        ),
        ({"bse": {}}, "there is no key 'bse': did you mean 'base'?"),
    ],
)
def test_a_study_with_a_mistake(
    refused: Callable[..., str], taught: Path, tmp_path: Path, value: dict[str, Any], sentence: str
) -> None:
    base = {"data": str(taught / "images"), "student": "smallconv_8", "steps": 1}
    (tmp_path / "study.yaml").write_text(study(base=base, **value))
    assert sentence in refused("compare", "study.yaml", "--out", "out")


def test_a_run_s_configuration_is_no_study(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("steps: 3\n")
    assert refused("compare", "run.yaml") == "'run.yaml' has no `rows`: it is not a study"
