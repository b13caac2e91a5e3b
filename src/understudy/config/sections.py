"""The parts of a run's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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


def from_word(key: str) -> BeforeValidator:
    """Lets a section be written as the one word that matters in it, under ``key``."""
    return BeforeValidator(lambda value: {key: str(value)} if isinstance(value, str | Path) else value)


SWITCH = BeforeValidator(lambda value: ("off", "on")[value] if isinstance(value, bool) else value)
"""YAML reads a bare ``on`` or ``off`` as true or false: a setting that knows these words takes both."""


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
    fraction: float = Field(
        1.0, gt=0.0, le=1.0, description="share of the training images used, chosen without a look at labels"
    )
    queries: Annotated[int, Field(ge=2)] | None = Field(
        None, description="most training images used, each shown to a teacher once; default: no limit"
    )
    fraction_seed: Seed | None = Field(
        None, description="seed of the choice of images used; default: split_seed"
    )
    split_seed: Seed = Field(
        0, description="seed of the validation split and of the choice of labelled classes"
    )
    skip_unreadable: bool = Field(False, description="leave unreadable images out instead of stopping")
    workers: Natural = Field(0, description="threads that decode images; 0 means one for each processor")
    resident: Literal["auto", "always", "never"] = Field(
        "auto",
        description="decoded images lie in the device's memory, or are streamed from the host's; auto: they "
        "lie there where they take no more than 60 % of what is free",
    )


class TeacherConfig(Section):
    """A teacher and what it is shown."""

    reference: str = Field(
        description="timm:NAME[?weights=FILE], onnx:FILE, table:DIR, python:module:factory, packaged:NAME, "
        "or a saved model's directory"
    )
    view: Literal["same", "clean", "independent"] | None = Field(
        None, description="what the teacher sees of an augmented image; default: what suits its kind"
    )
    clean: str | None = Field(
        None,
        description="where its vectors of clean images come from when students are measured: table:DIR, or "
        "another reference; default: the teacher itself",
    )
    answers: Path | None = Field(
        None,
        description="where the teacher's answers are written as an embedding table; default: "
        "RUN/answers/NAME for python: and onnx:, memory for the others",
    )
    budget: Positive | None = Field(
        None, description="most questions (images x views) the run may ask; default: no limit"
    )
    rate: float | None = Field(None, gt=0.0, description="most questions a second; default: no limit")
    retries: Natural = Field(
        3, description="how often a question about an image is repeated that a python: teacher failed on"
    )


DEFAULT_LOSSES: tuple[dict[str, Any], ...] = ({"name": "similarity_kl"},)
"""What ``losses: [default]`` stands for: what won on the committed studies."""


ALIGNING_LOSS: dict[str, Any] = {"name": "absolute_teacher"}
"""What ``default`` brings along where the student is to be compatible with its teacher."""


class LossConfig(Section):
    """One distillation loss."""

    name: str = Field(description="a name from understudy.losses.LOSSES")
    weight: float | None = Field(None, ge=0.0, description="its weight; default: the loss's own")
    teacher: str | None = Field(None, description="which teacher it learns from; default: the only one")
    warmup: Natural = Field(0, description="steps over which the weight grows linearly from 0")
    maps: tuple[str, str] | None = Field(
        None, description="the student's and the teacher's layer, for losses on feature maps"
    )
    gallery: Positive | None = Field(
        None,
        description="for contextual_similarity: the teacher's vectors of so many training images, in which "
        "every query is compared; default: those of the batch",
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
        "tuples",
        "unlabelled",
        "mixed",
        "teacher_knn",
    ] = Field(
        "auto",
        description="auto: class_balanced with labels, unlabelled without, mixed when only some have them",
    )
    batch_size: Positive = Field(128, description="images in a (global) batch")
    images_per_class: Positive = Field(4, description="images of each class in a batch")
    replacement: bool = Field(False, description="draw classes anew for each batch instead of using all up")
    labelled: Fraction = Field(0.5, description="least share of a mixed batch that has labels")
    unlabelled: Literal["random", "teacher_knn"] = Field(
        "random", description="how the rest of a mixed batch is drawn, from all images"
    )
    neighbours: Positive = Field(7, description="the teacher's neighbours beside each image of teacher_knn")
    neighbourhood: Positive = Field(20, description="among how many nearest images these are drawn")
    teacher: str | None = Field(None, description="whose neighbours they are; default: the first teacher's")
    negatives: Positive = Field(5, description="mined negatives in a tuple, beside its query and positive")
    queries: Positive = Field(2000, description="pairs of query and positive drawn for an epoch of tuples")
    pool: Positive = Field(22_000, description="images that an epoch's negatives are mined among")


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
    split: Literal["auto", "val", "test", "gallery"] = Field(
        "auto",
        description="the split of the final figures; gallery: the data's own queries and gallery; auto: test "
        "where there is one, else gallery, else val",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="which weights are saved: the last, or the best on the validation split"
    )
    batch_size: Positive = Field(256, description="images embedded at a time")
