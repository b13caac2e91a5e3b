"""Whose a run directory is: a new run's, or this very run's that goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from understudy._version import __version__
from understudy.config import RunConfig, read_yaml, to_yaml
from understudy.errors import UserError
from understudy.files import atomic_directory, write_text
from understudy.training.directory.resuming import changed_setting
from understudy.training.processes import distributed


def is_free(config: RunConfig, out: Path, resume: bool) -> bool:
    """Whether the run starts anew in ``out``; False when the run that is there is this very one."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return True
    if not resume:
        raise UserError(f"{str(out)!r} exists already: pass another --out, or --resume to go on with it")
    file = out / "config.yaml"
    if not file.is_file():
        raise UserError(f"{str(out)!r} is not a run directory (it has no config.yaml): pass another --out")
    changed = changed_setting(read_yaml(file), config.model_dump(mode="json"))
    if changed is not None:
        raise UserError(
            f"{str(out)!r} was started with another {changed!r}: pass the same settings to resume it, "
            "or another --out"
        )
    return False


class Claim:
    """Makes a directory the run's, the first time it is called and on every process together.

    Args:
        config: The run.
        out: Its directory.
        fresh: Whether the run starts anew.
    """

    def __init__(self, config: RunConfig, out: Path, fresh: bool) -> None:
        self._work = lambda: _claim(config, out, fresh)
        self._done = False

    def __call__(self) -> None:
        """Does it, unless it is done."""
        if not self._done:
            distributed.once(self._work)
        self._done = True


def _claim(config: RunConfig, out: Path, fresh: bool) -> None:
    """Makes the run directory, or clears what a killed process left half-written in it."""
    settings = f"# understudy {__version__}\n{to_yaml(config)}"
    if fresh:
        with atomic_directory(out, overwrite=True) as draft:
            (draft / "config.yaml").write_text(settings, encoding="utf-8")
            (draft / "checkpoints").mkdir()
        return
    if read_yaml(out / "config.yaml") != config.model_dump(mode="json"):
        write_text(out / "config.yaml", settings)
    (out / "checkpoints").mkdir(exist_ok=True)
    for left in (*out.glob(".*.tmp"), *out.glob(".*.old"), *out.glob("checkpoints/.*.tmp")):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
