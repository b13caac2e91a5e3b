"""Bad names, files and places, from the command line: one sentence, status 2, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

from understudy.training import run as run_module

TINY = (
    *("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2),
    *("--sampler.batch-size", 8, "--sampler.images-per-class", 2, "--out", "run"),
)

Command = Callable[..., Any]
Refused = Callable[..., str]


def tree(place: Path) -> dict[str, bytes | None]:
    """Every file with what is in it, and every folder."""
    found = sorted(place.rglob("*"))
    return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else None for path in found}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(command: Command, here: Path) -> Refused:
    """The sentence with which a command is refused, having left every file as it was."""

    def call(*words: object) -> str:
        before = tree(here)
        outcome = command(*words)
        assert outcome.status == 2, outcome
        assert outcome.out == ""
        assert len(outcome.err.splitlines()) == 1, outcome.err
        assert outcome.err.startswith("error: ")
        assert tree(here) == before
        sentence: str = outcome.err.removeprefix("error: ").rstrip("\n")
        return sentence

    return call


@pytest.fixture
def train(taught: Path) -> tuple[object, ...]:
    return ("train", "--data", taught / "images", "--model", "smallconv_8", *TINY)


@pytest.fixture
def distill(taught: Path) -> tuple[object, ...]:
    teacher = taught / "teacher" / "model"
    return (
        *("distill", "--data", taught / "images", "--student", "smallconv_8"),
        *("--teacher", teacher, *TINY),
    )


Words = tuple[object, ...]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "nearest"), [("smalconv_8", "smallconv_8"), ("resnet50d_x", "resnet50d"), ("nin_bm", "nin_bn")]
)
def test_a_backbone_that_does_not_exist(refused: Refused, train: Words, name: str, nearest: str) -> None:
    sentence = refused(*train, "--model", name)
    assert f"'{name}'" in sentence
    assert f"did you mean '{nearest}" in sentence


def test_a_loss_that_does_not_exist(refused: Refused, train: Words, distill: Words) -> None:
    assert refused(*distill, "--loss", "hard_darkrnk").endswith(
        "'hard_darkrnk': did you mean 'hard_darkrank'?"
    )
    sentence = refused(*train, "--supervised", "multi_similarty")
    assert sentence.endswith("'multi_similarty': did you mean 'multi_similarity'?")


@pytest.mark.slow
def test_a_loss_of_the_library_that_does_not_exist(refused: Refused, train: Words) -> None:
    sentence = refused(*train, "--supervised", "pml:CircelLoss")
    assert "CircelLoss" in sentence
    assert "did you mean" in sentence
    assert "CircleLoss" in sentence


def test_a_loss_in_the_wrong_list(refused: Refused, train: Words, distill: Words) -> None:
    assert refused(*train, "--supervised", "similarity_kl") == (
        "'similarity_kl' learns from a teacher: put it under `losses`, not `supervised`"
    )
    assert refused(*distill, "--loss", "cross_entropy") == (
        "'cross_entropy' is a loss on labels: put it under `supervised`, not `losses`"
    )
    assert refused(*distill, "--loss", "pml:CircleLoss") == (
        "'pml:CircleLoss' is a loss on labels: put it under `supervised`, not `losses`"
    )


def test_a_loss_with_a_mangled_weight(refused: Refused, distill: Words) -> None:
    assert "'similarity_kl=much' is not NAME or NAME=WEIGHT" in refused(
        *distill, "--loss", "similarity_kl=much"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optmi: {lr: 0.1}", "run.yaml: there is no key 'optmi': did you mean 'optim'?"),
        ("optim: {lrr: 0.1}", "run.yaml: there is no key 'lrr' in 'optim': did you mean 'lr'?"),
        (
            "supervised: [{name: triplet, wieght: 2}]",
            "run.yaml: there is no key 'wieght' in 'supervised.0': did you mean 'weight'?",
        ),
        ("optim: {lr: fast}", "run.yaml: 'optim.lr' does not fit ('fast')"),
        ("sampler: clas_balanced", "run.yaml: 'sampler.kind' does not fit ('clas_balanced')"),
        ("steps: -1", "run.yaml: 'steps' does not fit (-1)"),
        ("optim: {lr: 1\nseed: 2", "'run.yaml' is not valid YAML at line 2: mend it there"),
        ("- a\n- b", "'run.yaml' must hold `key: value` lines, not list"),
        ("\x00", "'run.yaml' is not valid YAML"),
        ("teachers: nowhere", "there is no model directory 'nowhere': check the path"),
        ("losses: [pkt]", "run.yaml: the loss 'pkt' needs a teacher"),
    ],
)
def test_a_configuration_with_a_mistake(refused: Refused, taught: Path, text: str, says: str) -> None:
    Path("run.yaml").write_text(text)
    options = TINY[:4] + TINY[6:]  # all but --steps
    words = ("train", "run.yaml", "--data", taught / "images", "--model", "smallconv_8", *options)
    assert refused(*words).startswith(says)


def test_a_configuration_that_is_not_there(refused: Refused) -> None:
    assert refused("train", "gone.yaml").startswith("there is no file 'gone.yaml'")
    Path("folder").mkdir()
    assert refused("train", "folder").startswith("cannot read 'folder'")


def test_a_misspelt_option_and_a_value_that_does_not_fit(refused: Refused, train: Words) -> None:
    sentence = refused(*train, "--optim.lrr", 0.1)
    assert sentence.startswith("no such option: --optim.lrr")
    assert "--optim.lr" in sentence.replace("--optim.lrr", "")
    assert "'optim.lr' does not fit ('fast')" in refused(*train, "--optim.lr", "fast")
    assert "'accumulate' does not fit (0)" in refused(*train, "--accumulate", 0)


def test_a_command_that_does_not_exist(refused: Refused) -> None:
    assert "'distil'" in refused("distil", "--data", "images")


def test_an_output_directory_that_exists(refused: Refused, train: Words, distill: Words) -> None:
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    for words in (train, distill):
        assert refused(*words) == "'run' exists already: pass another --out, or --resume to go on with it"
        assert refused(*words, "--resume").startswith("'run' is not a run directory")


def test_an_output_beneath_a_file(refused: Refused, train: Words) -> None:
    Path("file").write_text("mine")
    assert "'file/run'" in refused(*train, "--out", "file/run")


def test_a_device_that_does_not_exist(refused: Refused, train: Words, taught: Path) -> None:
    model = taught / "teacher" / "model"
    for device in ("gpu", "cuda:99"):
        says = f"the device '{device}' cannot be used here: pass 'cpu' or 'auto'"
        assert refused(*train, "--device", device) == says
        assert refused("evaluate", model, taught / "images", "--device", device) == says
        assert refused("embed", model, taught / "images", "--device", device) == says


def test_a_teacher_that_is_not_there(refused: Refused, distill: Words, taught: Path) -> None:
    says = "there is no model directory 'nowhere': check the path"
    assert refused(*distill, "--teacher", "nowhere") == says
    assert (
        refused("evaluate", taught / "teacher" / "model", taught / "images", "--teacher", "nowhere") == says
    )
    assert refused("embed", "nowhere", taught / "images") == says
    without = [word for word in distill if word not in ("--teacher", taught / "teacher" / "model")]
    assert refused(*without).startswith("there is no teacher: pass --teacher")


def test_a_teacher_that_is_no_model(refused: Refused, distill: Words, taught: Path) -> None:
    Path("notes").mkdir()
    assert refused(*distill, "--teacher", "notes").startswith("'notes' has no config.json")
    shutil.copytree(taught / "teacher" / "model", "half")
    Path("half/model.safetensors").unlink()
    assert "model.safetensors" in refused(*distill, "--teacher", "half")
    shutil.copytree(taught / "teacher" / "model", "broken")
    weights = Path("broken/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "broken" in refused(*distill, "--teacher", "broken")
    Path("broken/config.json").write_text("{")
    assert "config.json" in refused(*distill, "--teacher", "broken")
    Path("file").write_text("no folder")
    assert "'file'" in refused(*distill, "--teacher", "file")


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("tim:resnet50", "there is no kind of teacher named 'tim': did you mean 'timm'?"),
        ("packaged:typeface", "'typeface'"),
        ("timm:smallconv_8?weihts=random", "has no setting 'weihts': did you mean 'weights'?"),
        ("timm:smalconv_8?weights=random", "did you mean 'smallconv_8'?"),
        ("timm:smallconv_8?weights=gone.pt", "'gone.pt'"),
        ("onnx:teacher.onnx", "teachers of kind 'onnx:' are not available in this version"),
    ],
)
def test_a_reference_with_a_mistake(refused: Refused, distill: Words, reference: str, says: str) -> None:
    assert says in refused(*distill, "--teacher", reference)


STUDY = """
name: small
base: {{data: {data}, student: {{backbone: smallconv_8, dim: 8, input_size: [16, 16]}}, steps: 2}}
seeds: 2
rows: [{rows}]
{more}
"""


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        (
            "{name: alone}, {name: taught}",
            "tests: [[alone, tought]]",
            "study.yaml: `tests` names a row 'tought' that is not trained: did you mean 'taught'?",
        ),
        (
            "{name: alone}, {name: alone}",
            "",
            "study.yaml: two rows are named 'alone': give each its own name",
        ),
        (
            "{name: alone}",
            "metrics: [recal@1]",
            "`metrics` has 'recal@1', which no row measures: did you mean 'recall@1'?",
        ),
        ("{name: alone, confg: {seed: 1}}", "", "study.yaml: there is no key 'confg' in 'rows.0'"),
        (
            "{name: a, config: {optmi: {lr: 1}}}",
            "",
            "row 'a': there is no key 'optmi': did you mean 'optim'?",
        ),
        ("{name: a, config: {student: smalconv_8}}", "", "row 'a': there is no backbone"),
        ("{name: a, config: {supervised: [pkt]}}", "", "row 'a': 'pkt' learns from a teacher"),
        ("{name: a}", "seeds: []", "study.yaml: `seeds` must be one or more"),
        ("{name: a", "", "'study.yaml' is not valid YAML"),
    ],
)
def test_a_study_with_a_mistake(refused: Refused, taught: Path, rows: str, more: str, says: str) -> None:
    Path("study.yaml").write_text(STUDY.format(data=taught / "images", rows=rows, more=more))
    assert refused("compare", "study.yaml", "--out", "out").startswith(says)


def test_a_study_that_is_not_there(refused: Refused) -> None:
    assert refused("compare", "typfaces").endswith("did you mean 'typefaces'?")
    assert refused("compare", "gone.yaml").startswith("there is no file 'gone.yaml'")
    Path("run.yaml").write_text("seed: 1")
    assert refused("compare", "run.yaml") == "'run.yaml' has no `rows`: it is not a study"


def test_a_study_into_something_else(refused: Refused, taught: Path) -> None:
    Path("study.yaml").write_text(STUDY.format(data=taught / "images", rows="{name: a}", more=""))
    Path("out").mkdir()
    Path("out/notes.txt").write_text("mine")
    assert refused("compare", "study.yaml", "--out", "out") == (
        "'out' exists already and is not a study: pass another --out"
    )


class _Asking:
    """Stands for `listening`: a stop is asked for after the first step."""

    signal = "SIGTERM"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(
    command: Command, refused: Refused, train: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "listening", _Asking)
        outcome = command(*train)
    assert outcome.status == 1
    assert outcome.err == (
        "stopped by SIGTERM after step 1 of 2: run the same command again (train and distill with --resume)\n"
    )
    assert sorted(path.name for path in Path("run").rglob("*")) == [
        *("checkpoints", "config.yaml", "step-00000001.pt")
    ]
    assert "was started with another 'optim.lr'" in refused(*train, "--resume", "--optim.lr", 0.5)
    assert command(*train, "--resume").status == 0
    assert Path("run/summary.json").is_file()
