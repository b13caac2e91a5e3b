"""Whose a run directory is: a new run's, or this very run's that goes on."""

from __future__ import annotations

import contextlib
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from understudy._version import __version__
from understudy.config import RunConfig, read_yaml, to_yaml
from understudy.errors import UserError
from understudy.files import is_empty, make_directory, write_text
from understudy.locking import only_one
from understudy.training.directory.resuming import changed_setting
from understudy.training.processes import distributed

_LAUNCH = ".launch"  # which start of torchrun has begun the run


def is_free(config: RunConfig, out: Path, resume: bool) -> bool:
    """Whether the run starts anew in ``out``; False when the run that is there is this very one."""
    if is_empty(out):
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


def begun_by_this_launch(out: Path) -> bool:
    """Whether ``torchrun`` has started anew the very run that it began in ``out``, not one from before.

    Example:
        >>> begun_by_this_launch(Path("runs/birds"))  # without torchrun
        False
    """
    launch = distributed.launch()
    if distributed.restarts() == 0 or launch is None:
        return False
    try:
        return (out / _LAUNCH).read_text(encoding="utf-8") == launch
    except OSError:
        return False


def only_writer(out: Path) -> AbstractContextManager[None]:
    """Holds a run directory against other processes, see `only_one`."""
    return only_one(out, "is at work on the run in", "wait until it has ended, or pass another --out")


class Claim:
    """A directory that is one run's and one writer's: from the first on if the run goes on, else once called.

    Args:
        config: The run.
        out: Its directory.
        resume: Whether the run may go on there.

    Raises:
        UserError: ``out`` holds something else, or another process is at work there.
    """

    def __init__(self, config: RunConfig, out: Path, resume: bool) -> None:
        self._config, self._out, self._resume = config, out, resume
        self._held = contextlib.ExitStack()
        self._fresh = self._done = False

    def __enter__(self) -> Self:
        distributed.once(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def __call__(self) -> None:
        """Makes it the run's, unless that is done; every process calls."""
        if not self._done:
            distributed.once(self._make if self._fresh else self._clear)
        self._done = True

    def _begin(self) -> None:
        self._fresh = is_free(self._config, self._out, self._resume)
        if not self._fresh and not (self._out / "summary.json").is_file():
            self._held.enter_context(only_writer(self._out))

    def _make(self) -> None:
        """Makes the run directory, unless others have come since: the images were decoded meanwhile."""
        is_free(self._config, self._out, self._resume)
        made = not self._out.exists()
        try:
            make_directory(self._out)
            self._held.enter_context(only_writer(self._out))
            if not is_free(self._config, self._out, self._resume):
                self._clear()
                return
            launch = distributed.launch()
            if launch is not None:
                write_text(self._out / _LAUNCH, launch)
            write_text(self._out / "config.yaml", self._settings())  # by which it is known
        except BaseException:
            self._held.close()
            if made:
                with contextlib.suppress(OSError):  # it may be another's by now
                    self._out.rmdir()
            raise
        make_directory(self._out / "checkpoints")

    def _clear(self) -> None:
        """Writes down settings that may change, and clears what a killed process left half-written."""
        if read_yaml(self._out / "config.yaml") != self._config.model_dump(mode="json"):
            write_text(self._out / "config.yaml", self._settings())
        make_directory(self._out / "checkpoints")
        left = (".*.tmp", ".*.old", "checkpoints/.*.tmp")
        for draft in (draft for pattern in left for draft in self._out.glob(pattern)):
            shutil.rmtree(draft) if draft.is_dir() else draft.unlink()

    def _settings(self) -> str:
        return f"# understudy {__version__}\n{to_yaml(self._config)}"
