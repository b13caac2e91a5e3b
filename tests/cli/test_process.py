"""What only a process of its own can show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("--student.dim", "8", "--student.input-size", "[16,16]", "--steps", "2")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "understudy", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_status_and_streams(taught: Path, tmp_path: Path) -> None:
    """Answers on standard output, everything else on standard error; 0, or 2 for a user's mistake."""
    words = ("train", "--data", taught / "images", "--model", "smallconv_8", *SMALL, "--json")
    done = run(*words, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["path"] == str(tmp_path / "run")
    refused = run(*words, "--out", tmp_path / "run")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
