"""MATLAB files of data sets, as plain columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.layouts._lists import AGAIN
from understudy.errors import UserError


def variables(file: Path, names: Sequence[str]) -> list[np.ndarray]:
    """Some variables of a MATLAB file of version 5 to 7.

    Raises:
        UserError: It is not there, cannot be read, or lacks a variable.
    """
    from scipy.io import loadmat

    if not file.is_file():
        raise UserError(f"{str(file)!r} is missing: {AGAIN}")
    try:
        content: dict[str, Any] = loadmat(file, squeeze_me=True)
    except Exception as error:  # a broken file raises nearly anything, from struct.error to MemoryError
        raise UserError(f"{str(file)!r} is not a MATLAB file that can be read ({error}): {AGAIN}") from error
    for name in names:
        if name not in content:
            raise UserError(f"{str(file)!r} has no variable {name!r}: {AGAIN}")
    return [np.atleast_1d(content[name]) for name in names]


def columns(file: Path, variable: str, fields: Sequence[str]) -> list[list[Any]]:
    """Some fields of an array of structs.

    Raises:
        UserError: As `variables`, or a field is missing.
    """
    (structs,) = variables(file, [variable])
    for field in fields:
        if field not in (structs.dtype.names or ()):
            raise UserError(f"{str(file)!r}: {variable!r} has no field {field!r}: {AGAIN}")
    return [[np.asarray(value).item() for value in structs[field]] for field in fields]
