"""What a study is: several methods over several seeds, chosen fairly, compared in pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from understudy.config import Positive, RunConfig, Section, formless, merge, parse, read_yaml
from understudy.errors import UserError, suggest


class ChoiceConfig(Section):
    """Settings picked on the validation split, by the same rule for every row."""

    among: tuple[dict[str, Any], ...] = Field(
        min_length=1, description="settings laid over the row's, one of them chosen"
    )
    seeds: tuple[int, ...] = Field(
        (1000,), min_length=1, description="seeds of the trial runs, not used again"
    )
    metric: str = Field("recall@1", description="the validation figure that decides")
    overrides: dict[str, Any] = Field(
        default_factory=dict, description="settings of the trial runs alone, such as fewer steps"
    )


class RowConfig(Section):
    """One line of the table."""

    name: str = Field(description="what the table calls it")
    config: dict[str, Any] = Field(default_factory=dict, description="settings laid over the study's base")
    teacher: str | None = Field(None, description="evaluate this teacher instead of training anything")
    choose: ChoiceConfig | None = Field(None, description="settings to pick on the validation split first")

    @property
    def first(self) -> dict[str, Any]:
        """The first of the settings to pick, which stand for all of them; a row may be nothing without."""
        return {} if self.choose is None else self.choose.among[0]


class GapConfig(Section):
    """Which share of the way from one row to another each row goes: a column beside the figures."""

    alone: str = Field(description="the row the way begins at, the student without a teacher")
    teacher: str = Field(description="the row it leads to")
    metrics: tuple[str, ...] = Field(
        (), description="the figures it is given for; default: the first of `metrics`"
    )


class StudyConfig(Section):
    """Methods × seeds, one table."""

    name: str = Field(description="the study's name")
    about: str = Field("", description="a sentence or two above the table")
    base: dict[str, Any] = Field(description="the configuration all rows share")
    rows: tuple[RowConfig, ...] = Field(min_length=1, description="the lines of the table")
    seeds: tuple[int, ...] | Positive = Field(5, description="seeds, or how many (0, 1, …)")
    redraw: bool = Field(False, description="each seed also chooses its own images of `data.fraction`")
    metrics: tuple[str, ...] = Field(
        ("recall@1", "map@r", "neighbour_overlap@10"), description="the columns of figures"
    )
    tests: tuple[tuple[str, str], ...] = Field(
        (), description="pairs of rows, the second expected ahead, compared seed by seed"
    )
    tests_metrics: tuple[str, ...] = Field(
        (), description="the figures they are compared by; default: the first of `metrics`"
    )
    gap: GapConfig | None = Field(None, description="the share of a gap that each row closes; default: none")

    @model_validator(mode="after")
    def _names(self) -> StudyConfig:
        folders: dict[str, str] = {}
        for row in self.rows:
            folder = slug(row.name)
            if not folder:
                raise ValueError(f"the row's name {row.name!r} has no letter or digit: give it one")
            if folders.get(folder) == row.name:
                raise ValueError(f"two rows are named {row.name!r}: give each its own name")
            if folder in folders:
                raise ValueError(
                    f"the rows {folders[folder]!r} and {row.name!r} are too alike: change one of the names"
                )
            folders[folder] = row.name
        trained = [row.name for row in self.rows if row.teacher is None]
        if not trained:
            raise ValueError("no row is trained: add one without `teacher`")
        for pair in self.tests:
            if len(set(pair)) == 1:
                raise ValueError(f"`tests` compares the row {pair[0]!r} with itself: name two rows")
        for name in (name for pair in self.tests for name in pair):
            if name not in trained:
                raise ValueError(
                    f"`tests` names a row {name!r} that is not trained: {suggest(name, trained)}"
                )
        return self

    @model_validator(mode="after")
    def _sections(self) -> StudyConfig:
        trees = {"`base`": self.base, **{f"row {row.name!r}": row.config for row in self.rows}}
        for place, tree in trees.items():
            wrong = formless(RunConfig, tree)
            if wrong is not None:
                raise ValueError(f"{place}: {wrong}")
        return self

    @model_validator(mode="after")
    def _gap(self) -> StudyConfig:
        if self.gap is None:
            return self
        trained = [row.name for row in self.rows if row.teacher is None]
        if self.gap.alone not in trained:
            raise ValueError(
                f"gap.alone {self.gap.alone!r} is no row that is trained: {suggest(self.gap.alone, trained)}"
            )
        others = [row.name for row in self.rows if row.name != self.gap.alone]
        if self.gap.teacher not in others:
            raise ValueError(
                f"gap.teacher {self.gap.teacher!r} is no other row: {suggest(self.gap.teacher, others)}"
            )
        return self

    @model_validator(mode="after")
    def _seeds(self) -> StudyConfig:
        seeds = self.seed_list
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError(f"`seeds` must be one or more, each once, not {list(seeds)}")
        for row in self.rows:
            if row.choose is None:
                continue
            if row.teacher is not None:
                raise ValueError(f"the row {row.name!r} is a teacher's, which has nothing to `choose`")
            again = set(seeds) & set(row.choose.seeds)
            if again:
                raise ValueError(
                    f"the row {row.name!r} chooses with seed {min(again)}, with which it is measured too: "
                    "choose with other seeds"
                )
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, written out."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def tested(self) -> tuple[str, ...]:
        """The figures that rows are compared by."""
        return self.tests_metrics or self.metrics[:1]

    @property
    def closed(self) -> tuple[str, ...]:
        """The figures whose gap is given."""
        return () if self.gap is None else self.gap.metrics or self.metrics[:1]

    def replaced(self, **values: Any) -> StudyConfig:
        """The same study with other values, which must fit together as those of a file must.

        Raises:
            UserError: They do not.
        """
        # What was not set stays so: whether a study names its figures tells it from one that takes them over.
        value = {**self.model_dump(exclude_unset=True), **values}
        study: StudyConfig = parse(StudyConfig, value, where=f"study {self.name!r}")
        return study

    def run_config(self, row: RowConfig, seed: int, *overrides: Mapping[str, Any]) -> RunConfig:
        """The resolved configuration of one run.

        Args:
            row: The line it belongs to.
            seed: Its seed.
            overrides: Settings laid over the row's, in order.

        Raises:
            UserError: The settings do not fit together; the sentence names the row.
        """
        value: dict[str, Any] = dict(self.base)
        drawn = {"seed": seed, "data": {"fraction_seed": seed}} if self.redraw else {"seed": seed}
        for layer in (row.config, *overrides, drawn):
            value = merge(value, layer)
        config: RunConfig = parse(RunConfig, value, where=f"row {row.name!r}")
        return config


def slug(name: str) -> str:
    """A row's name as a folder's.

    Example:
        >>> slug("Student alone, 5 % of the labels")
        'student-alone-5-of-the-labels'
    """
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")


def recipe_names() -> list[str]:
    """The studies that ship with the package.

    Example:
        >>> "demo" in recipe_names()
        True
    """
    folder = files("understudy") / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def read_study(reference: str | Path) -> StudyConfig:
    """Reads a study from a YAML file, or by the name of a packaged recipe.

    Raises:
        UserError: There is no such file or recipe, or it does not describe a study.

    Example:
        >>> read_study("demo").name
        'demo'
    """
    name = str(reference)
    if name in recipe_names():
        path = Path(str(files("understudy") / "recipes" / f"{name}.yaml"))
    elif Path(reference).exists() or name.endswith((".yaml", ".yml")):
        path = Path(reference)
    else:
        raise UserError(
            f"there is no study {name!r}: pass a YAML file, or a recipe; {suggest(name, recipe_names())}"
        )
    value = read_yaml(path)
    if "rows" not in value:
        raise UserError(f"{name!r} has no `rows`: it is not a study")
    study: StudyConfig = parse(StudyConfig, value, where=name)
    return study
