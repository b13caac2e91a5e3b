"""Bad names, files and places, from the command line: one sentence, status 2, nothing written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = (
    *("--student.dim", 8, "--student.input-size", "[16,16]", "--steps", 2),
    *("--sampler.batch-size", 8, "--sampler.images-per-class", 2, "--out", "run"),
)
PLAIN = TINY[:6] + TINY[-2:]  # batches as they are by default

Command = Callable[..., Any]
Refused = Callable[..., str]

pytestmark = pytest.mark.usefixtures("here")


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
        ("losses: [pkt]", "run.yaml: the loss 'pkt' needs a teacher"),
    ],
)
def test_a_configuration_with_a_mistake(refused: Refused, taught: Path, text: str, says: str) -> None:
    Path("run.yaml").write_text(text)
    options = TINY[:4] + TINY[6:]  # all but --steps
    words = ("train", "run.yaml", "--data", taught / "images", "--model", "smallconv_8", *options)
    assert refused(*words).startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'run.yaml' must hold `key: value` lines, not NoneType"),
        ("optim: fast", "run.yaml: 'optim' does not fit ('fast')"),
        ("data: [a, b]", "run.yaml: 'data' does not fit"),
        ("supervised: multi_similarity", "run.yaml: 'supervised' does not fit"),
        ("teachers: [x]", "run.yaml: 'teachers' does not fit"),
        ("s2sd: {}\nsupervised: [margin]", "`s2sd` brings its own supervised loss"),
    ],
)
def test_a_configuration_that_is_wrong_by_itself(refused: Refused, text: str, says: str) -> None:
    Path("run.yaml").write_text(text)
    assert says in refused("train", "run.yaml", "--out", "run")


@pytest.mark.parametrize(
    ("text", "words", "says"),
    [
        ("data:", (), "run.yaml: 'data' does not fit (None): write its settings under it, such as `data: {"),
        ("data: [photos]", ("--fraction", 0.5), "run.yaml: 'data' does not fit (['photos'])"),
        ("data: 5", ("--data.val-fraction", 0.1), "run.yaml: 'data' does not fit (5)"),
        ("optim: sgd", ("--optim.lr", 0.1), "run.yaml: 'optim' does not fit ('sgd'): write its settings"),
    ],
)
def test_what_is_no_section_is_not_replaced_without_a_word(
    refused: Refused, text: str, words: tuple[object, ...], says: str
) -> None:
    """An option laid over it must not make the run learn from the embedded typefaces, say."""
    Path("run.yaml").write_text(f"{text}\nteachers: packaged:typefaces\nsteps: 1")
    assert refused("distill", "run.yaml", *words, "--out", "run").startswith(says)


@pytest.mark.parametrize(
    ("words", "says"),
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
    refused: Refused, taught: Path, words: tuple[object, ...], says: str
) -> None:
    whole = ("train", "--data", taught / "images", "--model", "smallconv_8", *PLAIN, *words)
    assert says.lower() in refused(*whole).lower()


def test_a_configuration_that_is_not_there(refused: Refused) -> None:
    assert refused("train", "gone.yaml").startswith("there is no file 'gone.yaml'")
    Path("folder").mkdir()
    assert refused("train", "folder").startswith(
        "'folder' is a folder, not a YAML configuration: pass images"
    )


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
        ("onnx:teacher.onnx", "there is no ONNX file 'teacher.onnx'"),
    ],
)
def test_a_reference_with_a_mistake(refused: Refused, distill: Words, reference: str, says: str) -> None:
    assert says in refused(*distill, "--teacher", reference)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--loss", "hint"), "'hint' compares feature maps: set its `maps`"),
        (
            ("--teacher", "timm:smallconv_8?weights=random", "--loss", "soft_target"),
            "needs the teacher's logits",
        ),
    ],
)
def test_a_teacher_that_cannot_teach(
    refused: Refused, distill: Words, words: tuple[str, ...], says: str
) -> None:
    assert says in refused(*distill, *words)
