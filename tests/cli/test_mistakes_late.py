"""What would only go wrong later, at the last step or in the tenth run, is refused before the first."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

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


HEAD = "path,label,split\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
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
    teacher = ("--teacher", taught / "teacher" / "model", "--student", "smallconv_8", *MODEL[2:])
    done = command("distill", "--data", images, *teacher, "--out", tmp_path / "run")
    assert done.status == 0  # agreement needs no label


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sampler.images-per-class", 3), "sampler.batch_size 128 is not a multiple of"),
        (("--sampler.kind", "cross_camera_pairs"), "needs a `camera` column"),
        (("--supervised", "none"), "there is nothing to learn from"),
        (("--preset", "darkrank_bse"), "did you mean 'darkrank_base'?"),
        (("--optim.lr", -1), "'optim.lr' does not fit (-1)"),
        (("--optim.betas", "[1,2]"), "'optim.betas.0' does not fit (1)"),
        (("--epochs", "inf"), "'epochs' does not fit"),
        (("--seed", 2**70), "'seed' does not fit"),
        (("--schedule.name", "cosin"), "'schedule.name' does not fit ('cosin')"),
        (("--student.input-size", "[16"), "'student.input_size' does not fit"),
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
        ("", "'run.yaml' must hold `key: value` lines, not NoneType"),
        ("student: {dim: 4}\nteachers: {a: x}\nlosses: [{nme: pkt}]", "there is no key 'nme'"),
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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--teacher", "timm:resnet5O?weights=random"), "did you mean 'resnet50'?"),
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_while_images_are_read_leaves_nothing(
    command: Command, taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    once = iter([True])

    def interrupt(*words: Any) -> Any:
        if next(once, False):
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            time.sleep(0.2)
        return decode(*words)

    monkeypatch.setattr("understudy.data.decoding.decode", interrupt)
    done = command("train", "--data", taught / "images", *MODEL, "--out", tmp_path / "run")
    assert done.status == 1
    assert done.err.startswith(f"stopped by {number.name} before the first step: run the same command again")
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
        ({"rows": [{"name": "A b"}, {"name": "a-B"}]}, "the rows 'A b' and 'a-B' are too alike"),
        ({"rows": [{"name": "!"}]}, "the row's name '!' has no letter or digit"),
        ({"rows": [{"name": "t", "teacher": "main"}]}, "no row is trained: add one without `teacher`"),
        ({"seeds": 0}, "does not fit (0)"),
        ({"seeds": [1, 1]}, "`seeds` must be one or more, each once, not [1, 1]"),
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
            {"rows": [{"name": "a"}, {"name": "t", "teacher": "mian"}]},
            "row 't': there is no teacher named 'mian'",
        ),
    ],
)
def test_a_study_with_a_mistake(
    refused: Callable[..., str], taught: Path, tmp_path: Path, value: dict[str, Any], sentence: str
) -> None:
    base = {"data": str(taught / "images"), "student": "smallconv_8", "steps": 1}
    (tmp_path / "study.yaml").write_text(study(base=base, **value))
    assert sentence in refused("compare", "study.yaml", "--out", "out")
