from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from understudy.config import RunConfig, merge, parse, read_yaml, to_yaml
from understudy.errors import UserError


def run_config(**value: object) -> RunConfig:
    config: RunConfig = parse(RunConfig, value, where="run.yaml")
    return config


def test_the_yaml_of_the_design_is_understood() -> None:
    config = run_config(
        data="typefaces",
        teachers={"main": "timm:resnet50?weights=r50.safetensors"},
        student={"backbone": "mobilenetv3_small_050", "dim": 128},
        supervised=[{"name": "multi_similarity", "weight": 1.0}],
        losses=[{"name": "hard_darkrank", "weight": 2.0, "teacher": "main", "args": {"alpha": 3}}],
    )
    assert config.data.source == "typefaces"
    assert config.teachers["main"].reference == "timm:resnet50?weights=r50.safetensors"
    assert config.losses[0].args == {"alpha": 3}


def test_a_resolved_configuration_reads_back_as_itself() -> None:
    config = run_config(teachers="packaged:typefaces", losses=["default"], augment={"flip": 0.5})
    assert run_config(**yaml.safe_load(to_yaml(config))) == config


def test_words_stand_for_sections() -> None:
    config = run_config(student="smallconv_8", sampler="unlabelled", losses=["pkt"], teachers="dir")
    assert (config.student.backbone, config.sampler.kind) == ("smallconv_8", "unlabelled")
    assert config.losses[0].name == "pkt"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"epoch": 3}, r"run\.yaml: there is no key 'epoch': did you mean 'epochs'\?"),
        ({"optim": {"momentun": 3}}, r"there is no key 'momentun' in 'optim': did you mean 'momentum'\?"),
        ({"data": {"sauce": "x"}}, r"there is no key 'sauce' in 'data': did you mean 'source'\?"),
        (
            {"teachers": {"m": {"referense": "x"}}},
            r"no key 'referense' in 'teachers\.m': did you mean 'reference'",
        ),
        ({"optim": {"lr": -1}}, r"'optim\.lr' does not fit \(-1\)"),
        ({"epochs": "many"}, r"'epochs' does not fit \('many'\)"),
        ({"sampler": {"kind": "odd"}}, r"'sampler\.kind' does not fit"),
        ({"losses": ["pkt"]}, "the loss 'pkt' needs a teacher"),
        ({"losses": ["pkt"], "teachers": {"a": "x", "b": "y"}}, "must say which `teacher`.*a, b"),
        (
            {"losses": [{"name": "pkt", "teacher": "mian"}], "teachers": {"main": "x"}},
            r"unknown teacher 'mian': did you mean 'main'\?",
        ),
        ({"s2sd": {}, "supervised": ["multi_similarity"]}, "s2sd.*leave `supervised` out"),
    ],
)
def test_a_mistake_is_one_sentence(value: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        run_config(**value)
    assert "\n" not in str(caught.value)


def test_yaml_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(UserError, match=r"not valid YAML at line 2"):
        read_yaml(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(UserError, match="must hold `key: value` lines, not list"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read"):
        read_yaml(tmp_path / "binary.yaml")


def test_merge_replaces_lists_and_merges_mappings() -> None:
    assert merge({"a": {"x": 1, "y": [1, 2]}}, {"a": {"y": [3]}, "b": 1}) == {
        "a": {"x": 1, "y": [3]},
        "b": 1,
    }


def test_every_value_has_a_help_line() -> None:
    from understudy.cli.options import leaves

    bare = [name for name, field in leaves(RunConfig) if not field.description]
    assert bare == []


@pytest.mark.parametrize("word", ["on", "off"])
def test_yaml_reads_on_and_off_as_truth_and_they_fit_all_the_same(word: str) -> None:
    assert run_config(**yaml.safe_load(f"compile: {word}")).compile == word
    assert run_config(compile=word).compile == word


def test_a_switch_without_on_refuses_it() -> None:
    assert run_config(**yaml.safe_load("cuda_graph: off")).cuda_graph == "off"
    with pytest.raises(
        UserError, match=r"'cuda_graph' does not fit \('on'\): input should be 'auto' or 'off'"
    ):
        run_config(**yaml.safe_load("cuda_graph: on"))
