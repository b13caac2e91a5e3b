"""Everything a run can be told, typed once: CLI options, help lines, docs and saved files come from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from understudy.data.augmentation import Augmentation
from understudy.errors import UserError, suggest
from understudy.models.config import EmbedderConfig

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change once set."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


WORDS = {"data": "source", "student": "backbone", "sampler": "kind", "schedule": "name"}
"""The sections that may be written as one word, and the key that the word stands for."""


def _from_word(key: str) -> BeforeValidator:
    """Lets a section be written as the one word that matters in it."""
    return BeforeValidator(lambda value: {key: str(value)} if isinstance(value, str | Path) else value)


class DataConfig(Section):
    """Which images, and what is known of them."""

    source: str = Field("typefaces", description="name of a data set, a manifest file, or a folder of images")
    resize: tuple[Positive, Positive] | None = Field(
        None, description="height and width images are decoded to; default: the largest any model asks for"
    )
    val_fraction: Fraction = Field(
        0.2,
        description="share of the training classes set aside for validation where there is no val split",
    )
    label_fraction: Fraction = Field(1.0, description="share of the training classes whose labels are used")
    split_seed: Seed = Field(
        0, description="seed of the validation split and of the choice of labelled classes"
    )
    skip_unreadable: bool = Field(False, description="leave unreadable images out instead of stopping")
    workers: Natural = Field(0, description="threads that decode images; 0 means one for each processor")


class TeacherConfig(Section):
    """A teacher and what it is shown."""

    reference: str = Field(
        description="timm:NAME[?weights=FILE], a saved model's directory, or packaged:NAME"
    )
    view: Literal["same", "clean", "independent"] | None = Field(
        None, description="what the teacher sees of an augmented image; default: what suits its kind"
    )


DEFAULT_LOSSES: tuple[dict[str, Any], ...] = ({"name": "similarity_kl"},)
"""What ``losses: [default]`` stands for: what won on the committed studies."""


class LossConfig(Section):
    """One distillation loss."""

    name: str = Field(description="a name from understudy.losses.LOSSES")
    weight: float | None = Field(None, ge=0.0, description="its weight; default: the loss's own")
    teacher: str | None = Field(None, description="which teacher it learns from; default: the only one")
    warmup: Natural = Field(0, description="steps over which the weight grows linearly from 0")
    maps: tuple[str, str] | None = Field(
        None, description="the student's and the teacher's layer, for losses on feature maps"
    )
    args: dict[str, Any] = Field(default_factory=dict, description="the loss's settings")


class SupervisedConfig(Section):
    """One loss on labels."""

    name: str = Field(description="multi_similarity, batch_hard_triplet, …, or pml:CLASS")
    weight: float | None = Field(None, ge=0.0, description="its weight; default: the loss's own")
    warmup: Natural = Field(0, description="steps over which the weight grows linearly from 0")
    args: dict[str, Any] = Field(default_factory=dict, description="the loss's settings")


class S2SDConfig(Section):
    """Simultaneous similarity-based self-distillation (S2SD): training heads that teach the base head."""

    base: str = Field("multi_similarity", description="the supervised loss of every head")
    base_args: dict[str, Any] = Field(default_factory=dict, description="its settings")
    variant: Literal["dsd", "msd", "msdf", "msdfa"] = Field("msdf", description="which form of S2SD")
    dims: tuple[Positive, ...] = Field(
        (512, 1024, 1536, 2048), min_length=1, description="dimensions of the training heads"
    )
    weight: float = Field(50.0, ge=0.0, description="γ, weight of the distillation between heads")
    feature_weight: float = Field(50.0, ge=0.0, description="γ_F, weight of the distillation from features")
    temperature: float = Field(1.0, gt=0.0, description="T of the similarity softmax")
    delay: Natural = Field(1000, description="steps before the features start to teach")


class SamplerConfig(Section):
    """How batches are put together."""

    kind: Literal[
        "auto",
        "class_balanced",
        "every_class_once",
        "random_pairs",
        "cross_camera_pairs",
        "unlabelled",
        "mixed",
    ] = Field(
        "auto",
        description="auto: class_balanced with labels, unlabelled without, mixed when only some have them",
    )
    batch_size: Positive = Field(128, description="images in a (global) batch")
    images_per_class: Positive = Field(4, description="images of each class in a batch")
    replacement: bool = Field(False, description="draw classes anew for each batch instead of using all up")
    labelled: Fraction = Field(0.5, description="share of a mixed batch that has labels")


class OptimConfig(Section):
    """The optimiser."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="adamw, or sgd with momentum")
    lr: float = Field(1e-3, gt=0.0, description="base learning rate")
    loss_lr: float | None = Field(
        None, gt=0.0, description="learning rate of losses' own parameters; default: lr"
    )
    weight_decay: float = Field(1e-4, ge=0.0, description="not applied to biases and normalisation layers")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="momentum of sgd")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="betas of adamw")
    clip: float | None = Field(None, gt=0.0, description="largest norm of the gradient")


class ScheduleConfig(Section):
    """The learning rate over the run."""

    name: Literal["cosine", "step", "constant"] = Field("cosine", description="after the warm-up")
    warmup: Fraction = Field(0.1, description="share of the run that warms up")
    floor: Fraction = Field(0.0, description="where the cosine ends, as a share of lr")
    milestones: tuple[Fraction, ...] = Field(
        (0.5, 0.75), description="where step falls, as shares of the run"
    )
    gamma: float = Field(0.1, gt=0.0, description="the factor at each milestone")


class EvaluationConfig(Section):
    """What is measured, when, and on which images."""

    every: Natural = Field(0, description="steps between evaluations on the validation split; 0: at the end")
    split: Literal["auto", "val", "test"] = Field(
        "auto", description="the split of the final figures; auto: test where there is one, else val"
    )
    keep: Literal["last", "best"] = Field(
        "last", description="which weights are saved: the last, or the best on the validation split"
    )
    batch_size: Positive = Field(256, description="images embedded at a time")


class RunConfig(Section):
    """One training run: data, teachers, student, losses and how they meet."""

    data: Annotated[DataConfig, _from_word("source")] = Field(
        default_factory=DataConfig, description="the images"
    )
    teachers: dict[str, Annotated[TeacherConfig, _from_word("reference")]] = Field(
        default_factory=dict, description="teachers by name"
    )
    student: Annotated[EmbedderConfig, _from_word("backbone")] = Field(
        default_factory=lambda: EmbedderConfig(backbone="mobilenetv3_small_050", dim=128),
        description="the model that is trained",
    )
    supervised: tuple[Annotated[SupervisedConfig, _from_word("name")], ...] | None = Field(
        None, description="losses on labels; default: multi_similarity when there are labels"
    )
    losses: tuple[Annotated[LossConfig, _from_word("name")], ...] = Field(
        (), description="distillation losses"
    )
    preset: str | None = Field(
        None,
        description="a paper's own set of losses, darkrank_base or darkrank_code; others are added to it",
    )
    s2sd: S2SDConfig | None = Field(None, description="train with S2SD instead of `supervised`")
    sampler: Annotated[SamplerConfig, _from_word("kind")] = Field(
        default_factory=SamplerConfig, description="batches"
    )
    augment: Augmentation | None = Field(
        None, description="what varies between views; default: what suits the data set"
    )
    view_seed: Seed | None = Field(
        None,
        description="seed of the views; default: seed. Runs that share it can share stored teacher views",
    )
    optim: OptimConfig = Field(default_factory=OptimConfig, description="optimiser")
    schedule: Annotated[ScheduleConfig, _from_word("name")] = Field(
        default_factory=ScheduleConfig, description="schedule"
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="evaluation")
    epochs: float = Field(20.0, gt=0.0, description="epochs to train")
    steps: Positive | None = Field(None, description="steps to train; takes the place of epochs")
    accumulate: Positive = Field(1, description="pieces a batch is computed in, to save memory")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the device computes it natively"
    )
    ema: Fraction = Field(0.0, description="decay of the weights' moving average; 0: none")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, …")
    seed: Seed = Field(0, description="seed of weights, batches and views")
    log_every: Positive = Field(20, description="steps between lines in metrics.jsonl")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    keep_checkpoints: Positive = Field(2, description="checkpoints kept")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = dict(value)
        if isinstance(value.get("teachers"), str):
            value["teachers"] = {"main": value["teachers"]}
        if isinstance(value.get("losses"), list | tuple):
            value["losses"] = [item for loss in value["losses"] for item in _defaults(loss)]
        if value.get("preset") is not None:
            _add_preset(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        for loss in self.losses:
            if not self.teachers:
                raise ValueError(f"the loss {loss.name!r} needs a teacher: add one under `teachers`")
            if loss.teacher is None and len(self.teachers) > 1:
                names = ", ".join(self.teachers)
                raise ValueError(f"the loss {loss.name!r} must say which `teacher` it learns from: {names}")
            if loss.teacher is not None and loss.teacher not in self.teachers:
                raise ValueError(
                    f"the loss {loss.name!r} names an unknown teacher {loss.teacher!r}: "
                    + suggest(loss.teacher, self.teachers)
                )
        if self.s2sd is not None and self.supervised:
            raise ValueError("`s2sd` brings its own supervised loss (`s2sd.base`): leave `supervised` out")
        return self


def _defaults(loss: Any) -> tuple[Any, ...]:
    """What ``default`` stands for, with the weight that may stand beside it; any other loss as it is."""
    if loss == "default":
        return DEFAULT_LOSSES
    if isinstance(loss, Mapping) and loss.get("name") == "default":
        beside = {key: value for key, value in loss.items() if key != "name"}
        return tuple({**default, **beside} for default in DEFAULT_LOSSES)
    return (loss,)


def _add_preset(value: dict[str, Any]) -> None:
    """Writes a preset's losses out, before those that are named beside it."""
    from understudy.losses.presets import preset

    try:
        losses = preset(str(value.pop("preset")))
    except LookupError as error:
        raise ValueError(error.args[0]) from None
    for key in ("supervised", "losses"):
        value[key] = [*losses[key], *(value.get(key) or ())]


def parse(section: type[Section], value: Mapping[str, Any], *, where: str) -> Any:
    """Reads a section from plain values; a mistake becomes one sentence.

    Args:
        section: The model to read into.
        value: Plain values, as YAML gives them.
        where: What to call the source in an error.

    Returns:
        The section.

    Raises:
        UserError: An unknown key (with the nearest known one) or a value that does not fit.

    Example:
        >>> parse(OptimConfig, {"lr": 0.1}, where="optim").lr
        0.1
        >>> parse(OptimConfig, {"momentun": 0.1}, where="run.yaml")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: run.yaml: there is no key 'momentun': did you mean 'momentum'?
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(section, error)}") from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Reads a YAML file that must hold a mapping.

    Raises:
        UserError: There is no such file, or it is not YAML, or not a mapping.
    """
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no file {str(path)!r}: pass the path of a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{str(path)!r} is not valid YAML{line}: mend it there") from None
    if not isinstance(value, dict):
        raise UserError(f"{str(path)!r} must hold `key: value` lines, not {type(value).__name__}")
    return value


def to_yaml(section: Section) -> str:
    """The section as YAML, every value resolved."""
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one tree of settings over another: mappings merge, everything else is replaced.

    A section written as one word is opened first, so that the word survives what is laid over it.

    Example:
        >>> merge({"data": "photos"}, {"data": {"label_fraction": 0.5}})
        {'data': {'source': 'photos', 'label_fraction': 0.5}}
        >>> merge({"optim": {"lr": 1, "clip": 2}, "losses": [1]}, {"optim": {"lr": 3}, "losses": []})
        {'optim': {'lr': 3, 'clip': 2}, 'losses': []}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if key in WORDS and isinstance(value, Mapping) and isinstance(old, str | Path):
            old = {WORDS[key]: str(old)}
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The dotted name of the first setting in which two trees differ, or None when they are equal.

    Example:
        >>> first_difference({"seed": 0, "optim": {"lr": 1}}, {"seed": 0, "optim": {"lr": 3}})
        'optim.lr'
    """
    for key in sorted({*old, *new}):
        first, second = old.get(key), new.get(key)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            inner = first_difference(first, second)
            if inner is not None:
                return f"{key}.{inner}"
        elif first != second:
            return key
    return None


def _sentence(section: type[BaseModel], error: ValidationError) -> str:
    # A misspelt key is the cause of a missing one, so it is named first.
    first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    place = [part for part in first["loc"] if isinstance(part, int) or not _is_branch(str(part))]
    dotted = ".".join(str(part) for part in place)
    if first["type"] == "extra_forbidden":
        known = _fields_at(section, place[:-1])
        inside = f" in {'.'.join(map(str, place[:-1]))!r}" if place[:-1] else ""
        return f"there is no key {str(place[-1])!r}{inside}: {suggest(str(place[-1]), known)}"
    if first["type"] == "missing":
        return f"the key {dotted!r} is missing: add it"
    message = first["msg"].removeprefix("Value error, ")
    if not dotted:
        return message
    return f"{dotted!r} does not fit ({_shown(first['input'])}): {message[0].lower()}{message[1:]}"


def _is_branch(part: str) -> bool:
    return "[" in part or part.startswith(("function-", "tagged-"))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(section: type[BaseModel], place: list[Any]) -> list[str]:
    current: Any = section
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = _model_inside(current.model_fields[part].annotation)
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()) or ():
        found = _model_inside(inner)
        if found is not None:
            return found
    return None
