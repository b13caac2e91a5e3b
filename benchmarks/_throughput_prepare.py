"""Compiling ahead: processes side by side fill the compiler's cache on disk, so that measuring waits less."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from _losses_table import elapsed, say

QUICK = ["--seconds", "0.001", "--rounds", "1", "--images", "1", "--parts", "grid"]
SHARE = 0.6  # of the time there is, for compiling
LAUNCHED = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def prepare(script: Path, arguments: argparse.Namespace, jobs: int) -> None:
    """Runs the script's own rows (a) to (d) once, too briefly to measure anything, in several processes.

    Args:
        script: The script.
        arguments: Its arguments, filled in.
        jobs: How many processes; each takes every so manieth row.
    """
    say(f"{jobs} processes compile")
    words = [
        *("--device", arguments.device),
        *("--students", ",".join(arguments.students)),
        *("--teachers", ",".join(arguments.teachers)),
        *("--batches", ",".join(map(str, arguments.batches))),
        *("--sizes", ",".join(f"{height}x{width}" for height, width in arguments.sizes)),
        *("--only", arguments.only),
        *(("--until", str(SHARE * arguments.until)) if arguments.until is not None else ()),
        *(("--merge", str(arguments.merge)) if arguments.merge is not None else ()),
    ]
    alone = {key: value for key, value in os.environ.items() if key not in LAUNCHED}
    with tempfile.TemporaryDirectory() as folder:
        started = [
            subprocess.Popen(
                [sys.executable, str(script), *words, *QUICK, *_own(number, jobs, folder)],
                stdout=subprocess.DEVNULL,
                env=alone,
            )
            for number in range(jobs)
        ]
        for process in started:
            process.wait()
    say(f"compiled after {elapsed():.0f} s")


def _own(number: int, jobs: int, folder: str) -> list[str]:
    return ["--share", f"{number}/{jobs}", "--out", f"{folder}/{number}.json"]
