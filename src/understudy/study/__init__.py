"""Studies: several methods × several seeds, chosen on validation data, compared in one table."""

from understudy.study.changing import changed
from understudy.study.config import RowConfig, StudyConfig, read_study, recipe_names
from understudy.study.runner import run_study
from understudy.study.table import to_markdown

__all__ = ["RowConfig", "StudyConfig", "changed", "read_study", "recipe_names", "run_study", "to_markdown"]
