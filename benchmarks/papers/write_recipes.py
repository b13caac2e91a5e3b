"""Writes the recipes of the papers bench into the package, from the settings that lie here.

python benchmarks/papers/write_recipes.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from _darkrank_studies import studies
from _market1501_settings import TEACHER

RECIPES = Path(__file__).resolve().parents[2] / "src" / "understudy" / "recipes"
_HEAD = "# Written by benchmarks/papers/write_recipes.py: change its settings and write it again.\n"


class _Plain(yaml.SafeDumper):
    """Repeats what occurs twice instead of pointing to it."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the library's signature)
        return True


def recipes() -> dict[str, str]:
    """The text of every recipe, by its place in the package's folder of recipes."""
    found = {"teachers/market1501.yaml": TEACHER}
    found |= {f"{name}.yaml": study for name, study in studies().items()}
    return {place: _HEAD + as_yaml(value) for place, value in found.items()}


def as_yaml(value: dict[str, Any]) -> str:
    """Settings as YAML, what has no inner part on one line."""
    return yaml.dump(
        value, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=108, default_flow_style=None
    )


def main() -> None:
    for place, text in recipes().items():
        (RECIPES / place).write_text(text, encoding="utf-8")
        print(RECIPES / place)


if __name__ == "__main__":
    main()
