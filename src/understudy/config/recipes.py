"""Configurations that ship with the package, called by their names."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from understudy.config.reading import read_yaml
from understudy.errors import UserError, suggest


def run_recipes() -> list[str]:
    """The names of the runs that ship with the package.

    Example:
        >>> "data_efficient" in run_recipes()
        True
    """
    names = (entry.name for entry in (files("understudy") / "recipes" / "distil").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def read_run_settings(reference: str | Path) -> dict[str, Any]:
    """The plain values of a YAML configuration, or of a packaged one that is called by its name.

    Args:
        reference: A file, which comes first, or a name of `run_recipes`.

    Raises:
        UserError: There is no such file or recipe, or it cannot be read.

    Example:
        >>> read_run_settings("data_efficient")["supervised"]
        []
    """
    name = str(reference)
    if Path(reference).is_file() or name.endswith((".yaml", ".yml")):
        return read_yaml(reference)
    if name not in run_recipes():
        if Path(reference).is_dir():
            raise UserError(f"{name!r} is a folder, not a YAML configuration: pass images as --data {name}")
        known = suggest(name, run_recipes())
        raise UserError(f"there is no configuration {name!r}: pass a YAML file, or a recipe; {known}")
    return read_yaml(str(files("understudy") / "recipes" / "distil" / f"{name}.yaml"))
