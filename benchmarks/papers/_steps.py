"""Commands of `understudy` that are started side by side, stopped in time, and never done twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_GRACE = 90.0
"""Seconds that a command has to write a checkpoint once it was asked to stop."""


class OutOfTime(Exception):
    """The time is over: what is unfinished goes on when the bench is started again."""


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        part: Which part of the bench it belongs to.
        words: What follows `understudy`.
        done: A file that is there once it is finished, seen from the work folder.
    """

    part: str
    words: tuple[str, ...]
    done: str


class Steps:
    """Starts commands in a work folder until the time is over, and keeps a ledger of what they took.

    Args:
        work: The folder that they run in.
        seconds: After how many seconds nothing new begins and what runs is asked to stop; none: never.
    """

    def __init__(self, work: Path, seconds: float | None) -> None:
        self.work = work
        self._end = None if seconds is None else time.monotonic() + seconds
        self._ledger = work / "ledger.jsonl"

    def together(self, steps: Sequence[Step], *, devices: int) -> None:
        """Runs those that are not finished, all at once, and waits for them.

        Args:
            steps: Commands of one part.
            devices: How many GPUs they use together.

        Raises:
            OutOfTime: The time was over before all were finished.
            SystemExit: One has failed; it has said why itself.
        """
        missing = [step for step in steps if not (self.work / step.done).exists()]
        if not missing:
            return
        if self._end is not None and time.monotonic() >= self._end:
            raise OutOfTime
        started = time.monotonic()
        statuses = self._run([step.words for step in missing])
        self._note(missing, time.monotonic() - started, devices)
        ended = zip(missing, statuses, strict=True)
        unfinished = [(step, status) for step, status in ended if not (self.work / step.done).exists()]
        for step, status in unfinished:
            if status is not None:
                name = " ".join(step.words[:2])
                sys.exit(f"`understudy {name}` ended with status {status}, without {step.done}")
        if unfinished:
            raise OutOfTime

    def gpu_seconds(self, part: str) -> float:
        """What a part took so far: the time on the clock, for every GPU in use."""
        lines = [json.loads(line) for line in self._lines()]
        spent: float = sum(line["seconds"] * line["devices"] for line in lines if line["part"] == part)
        return round(spent, 1)

    def _run(self, commands: Sequence[Sequence[str]]) -> list[int | None]:
        """Starts all, waits for all, asks them to stop when the time is over.

        Returns:
            Their exit statuses; None of one that was stopped.
        """
        processes = [
            subprocess.Popen([sys.executable, "-m", "understudy", *words], cwd=self.work)
            for words in commands
        ]
        try:
            for process in processes:
                process.wait(None if self._end is None else max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            say("the time is over: what runs is asked to write a checkpoint and end")
        finally:
            stopped = _stop(processes)
        return [None if process in stopped else process.returncode for process in processes]

    def _note(self, steps: Sequence[Step], seconds: float, devices: int) -> None:
        line = {
            "part": steps[0].part,
            "commands": [" ".join(step.words) for step in steps],
            "seconds": round(seconds, 1),
            "devices": devices,
        }
        with self._ledger.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        names = ", ".join(" ".join(step.words[:2]) for step in steps)
        say(f"{steps[0].part}: {names}: {seconds:.0f} s")

    def _lines(self) -> list[str]:
        return self._ledger.read_text(encoding="utf-8").splitlines() if self._ledger.is_file() else []


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> list[subprocess.Popen[bytes]]:
    """Asks those that still run to stop, and waits for them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + _GRACE
    for process in running:
        try:
            process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return running
