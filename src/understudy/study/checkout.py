"""Which commit of the package's own checkout is running."""

from __future__ import annotations

import subprocess
from pathlib import Path

import understudy


def commit() -> str | None:
    """The commit that the package is run from, with a ``+`` behind it where files of it were changed.

    Returns:
        40 hexadecimal digits; None where the package does not lie in a checkout.

    Example:
        >>> known = commit()
        >>> known is None or len(known.rstrip("+")) == 40
        True
    """
    package = Path(understudy.__file__).parent
    root = next((folder for folder in package.parents if (folder / ".git").exists()), None)
    if root is None or not package.is_relative_to(root / "src"):
        return None  # installed below somebody else's checkout
    try:
        name = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", str(package))
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changed else "")


def _git(root: Path, *words: str) -> str:
    command = ["git", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()
