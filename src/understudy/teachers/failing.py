"""What a user's own code failed with, as a part of a sentence."""

from __future__ import annotations

import traceback
from pathlib import Path


def told(error: BaseException) -> str:
    """The kind of an error, what it says, and the file and line that raised it.

    Example:
        >>> try:
        ...     compile("def ask(:", "mine.py", "exec")
        ... except SyntaxError as error:
        ...     told(error)
        'SyntaxError: invalid syntax, in mine.py:1'
    """
    if isinstance(error, SyntaxError) and error.filename is not None:  # it was never run
        return f"SyntaxError: {error.msg}, in {Path(error.filename).name}:{error.lineno}"
    # What imports modules lies between the line that wants one and the error that there is none.
    frames = [at for at in traceback.extract_tb(error.__traceback__) if not at.filename.startswith("<frozen")]
    place = f", in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
