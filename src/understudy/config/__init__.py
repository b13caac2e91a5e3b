"""Everything a run can be told, typed once: CLI options, help lines and saved files come from here."""

from understudy.config.reading import formless, parse, read_yaml, to_yaml
from understudy.config.run import RunConfig
from understudy.config.sections import (
    DataConfig,
    EvaluationConfig,
    LossConfig,
    OptimConfig,
    Positive,
    S2SDConfig,
    SamplerConfig,
    ScheduleConfig,
    Section,
    SupervisedConfig,
    TeacherConfig,
)
from understudy.config.trees import first_difference, merge

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "LossConfig",
    "OptimConfig",
    "Positive",
    "RunConfig",
    "S2SDConfig",
    "SamplerConfig",
    "ScheduleConfig",
    "Section",
    "SupervisedConfig",
    "TeacherConfig",
    "first_difference",
    "formless",
    "merge",
    "parse",
    "read_yaml",
    "to_yaml",
]
