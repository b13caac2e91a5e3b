"""The teachers that ship with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from understudy.errors import unknown


def packaged_teachers() -> list[str]:
    """Names of the teachers that need no download.

    Example:
        >>> "typefaces" in packaged_teachers()
        True
    """
    folder = files("understudy") / "teachers" / "artefacts"
    return sorted(entry.name for entry in folder.iterdir() if (entry / "config.json").is_file())


def packaged_path(name: str) -> Path:
    """The directory of a packaged teacher.

    Raises:
        UserError: There is none of that name.
    """
    known = packaged_teachers()
    if name not in known:
        raise unknown("packaged teacher", name, known)
    return Path(str(files("understudy") / "teachers" / "artefacts" / name))
