"""One training run: all its sections, and the short forms they may be written in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from understudy.config.sections import (
    ALIGNING_LOSS,
    DEFAULT_LOSSES,
    SWITCH,
    DataConfig,
    EvaluationConfig,
    Fraction,
    LossConfig,
    OptimConfig,
    Positive,
    S2SDConfig,
    SamplerConfig,
    ScheduleConfig,
    Section,
    Seed,
    SupervisedConfig,
    TeacherConfig,
    from_word,
)
from understudy.data.augmentation import Augmentation
from understudy.data.degradation import Degradation
from understudy.errors import suggest
from understudy.models.config import EmbedderConfig


class RunConfig(Section):
    """One training run: data, teachers, student, losses and how they meet."""

    data: Annotated[DataConfig, from_word("source")] = Field(
        default_factory=DataConfig, description="the images"
    )
    teachers: dict[str, Annotated[TeacherConfig, from_word("reference")]] = Field(
        default_factory=dict, description="teachers by name"
    )
    student: Annotated[EmbedderConfig, from_word("backbone")] = Field(
        default_factory=lambda: EmbedderConfig(backbone="mobilenetv3_small_050", dim=128),
        description="the model that is trained",
    )
    supervised: tuple[Annotated[SupervisedConfig, from_word("name")], ...] | None = Field(
        None,
        description="losses on labels; default where there are labels: multi_similarity, or "
        "tuple_contrastive with the sampler tuples",
    )
    losses: tuple[Annotated[LossConfig, from_word("name")], ...] = Field(
        (), description="distillation losses"
    )
    compatible: bool | str = Field(
        False,
        description="keep a projection into the teacher's space with the model, for queries to a gallery "
        "that the teacher embedded; with several teachers, the name of the one",
    )
    preset: str | None = Field(
        None,
        description="a paper's own set of losses, darkrank_base, darkrank_code or data_efficient; others are "
        "added to it, and `default` stands for none where it has losses against a teacher",
    )
    s2sd: S2SDConfig | None = Field(None, description="train with S2SD instead of `supervised`")
    sampler: Annotated[SamplerConfig, from_word("kind")] = Field(
        default_factory=SamplerConfig, description="batches"
    )
    augment: Augmentation | None = Field(
        None, description="what varies between views; default: what suits the data set"
    )
    student_view: Degradation | None = Field(
        None, description="what makes the student's images worse than its teacher's; default: nothing"
    )
    view_seed: Seed | None = Field(
        None,
        description="seed of the views; default: seed. Runs that share it can share stored teacher views",
    )
    optim: OptimConfig = Field(default_factory=OptimConfig, description="optimiser")
    schedule: Annotated[ScheduleConfig, from_word("name")] = Field(
        default_factory=ScheduleConfig, description="schedule"
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="evaluation")
    epochs: float = Field(20.0, gt=0.0, description="epochs to train")
    steps: Positive | None = Field(None, description="steps to train; takes the place of epochs")
    accumulate: Positive = Field(1, description="pieces a batch is computed in, to save memory")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 where the device computes it natively"
    )
    sync_bn: bool = Field(
        False, description="batch normalisation over the images of all processes; needs a GPU for each"
    )
    cuda_graph: Annotated[Literal["auto", "off"], SWITCH] = Field(
        "auto", description="auto: record the training step as a CUDA graph where that is possible"
    )
    compile: Annotated[Literal["auto", "on", "off"], SWITCH] = Field(
        "auto",
        description="compile networks and losses; auto: on a GPU, for runs long enough to win the time back",
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
        brought = _preset(value.pop("preset", None))
        if isinstance(value.get("losses"), list | tuple):
            defaults = () if brought.get("losses") else DEFAULT_LOSSES
            defaults += (ALIGNING_LOSS,) if value.get("compatible") else ()
            value["losses"] = [item for loss in value["losses"] for item in _written_out(loss, defaults)]
        for key, losses in brought.items():
            value[key] = [*losses, *(value.get(key) or ())]
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
        self._check_compatible()
        if self.s2sd is not None and self.supervised:
            raise ValueError("`s2sd` brings its own supervised loss (`s2sd.base`): leave `supervised` out")
        return self

    def _check_compatible(self) -> None:
        if self.compatible is False:
            return
        if not self.teachers:
            raise ValueError(
                "`compatible` needs a teacher into whose space to project: add one, or leave it out"
            )
        if self.compatible is True and len(self.teachers) > 1:
            names = ", ".join(self.teachers)
            raise ValueError(f"`compatible` must say into which teacher's space to project: {names}")
        if isinstance(self.compatible, str) and self.compatible not in self.teachers:
            raise ValueError(
                f"`compatible` names an unknown teacher {self.compatible!r}: "
                + suggest(self.compatible, self.teachers)
            )


def _written_out(loss: Any, defaults: tuple[dict[str, Any], ...]) -> tuple[Any, ...]:
    """What ``default`` stands for, with the weight that may stand beside it; any other loss as it is."""
    if loss == "default":
        return defaults
    if isinstance(loss, Mapping) and loss.get("name") == "default":
        beside = {key: value for key, value in loss.items() if key != "name"}
        return tuple({**default, **beside} for default in defaults)
    return (loss,)


def _preset(name: Any) -> dict[str, list[dict[str, Any]]]:
    """The losses of a preset, which come before those that are named beside it; none without one."""
    from understudy.losses.presets import preset

    if name is None:
        return {}
    try:
        return preset(str(name))
    except LookupError as error:
        raise ValueError(error.args[0]) from None
