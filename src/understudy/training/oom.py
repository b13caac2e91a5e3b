"""Memory that runs out: which part of a run took it, and the setting that makes that part smaller."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from understudy.config import RunConfig
from understudy.data.decoding import decode_all
from understudy.data.lines import Lines
from understudy.errors import UserError
from understudy.evaluation import embed_pixels
from understudy.teachers.cached import CachedTeacher
from understudy.training.capture import CapturedStep
from understudy.training.loop import Loop
from understudy.training.measuring import measure
from understudy.training.ran_out import ran_out
from understudy.training.task import Task

# The functions whose frames tell what was going on; of several the innermost counts.
_PARTS = {
    Task.outputs.__code__: "student",
    Task.teach.__code__: "teacher",
    Task.criterion.__code__: "losses",
    Loop.run.__code__: "student",  # the backward pass and the optimiser's state
    CachedTeacher.ask.__code__: "answers",
    embed_pixels.__code__: "evaluation",
    measure.__code__: "evaluation",
    Lines.to.__code__: "images",
    decode_all.__code__: "decoding",
}


@contextlib.contextmanager
def naming_memory(config: RunConfig, out: Path) -> Iterator[None]:
    """Turns an error of memory that ran out into one sentence; every other error passes.

    What was running is read off the error's traceback, so that nothing is kept or asked in the loop.

    Args:
        config: The run's settings, whose values the sentence names.
        out: The run directory, whose checkpoints the sentence names.

    Raises:
        UserError: Memory ran out. The tensors that the failed calls held are let go, for a study goes on.

    Example:
        >>> with naming_memory(RunConfig(), Path("run")):
        ...     raise MemoryError
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: the computer's memory ran out: lower sampler.batch_size (128) or
        student.input_size; no checkpoint was written yet
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        sentence = _sentence(error, config, out)
        if sentence is None:
            raise
        for one in _chain(error):
            traceback.clear_frames(one.__traceback__)
        raise UserError(sentence) from None


def _sentence(error: BaseException, config: RunConfig, out: Path) -> str | None:
    chain = _chain(error)
    cause = next((one for one in reversed(chain) if ran_out(one)), None)
    if cause is None:
        return None
    frames = [frame for one in chain for frame, _ in traceback.walk_tb(one.__traceback__)]
    known = [frame for frame in frames if frame.f_code in _PARTS]
    part = _PARTS[known[-1].f_code] if known else ""
    whose = "computer's" if isinstance(cause, MemoryError) or "CPU" in str(cause) else "GPU's"
    step = next((f" at step {frame.f_locals['self'].step}" for frame in frames if _is(frame, Loop.run)), "")
    where, cure = _advice(part, known[-1] if known else None, config)
    if any(_is(frame, CapturedStep.__call__) for frame in frames) and part != "evaluation":
        cure = f"set cuda_graph to 'off' (a recorded step holds memory of its own), or {cure}"
    kept = out / "checkpoints"
    if any(kept.glob("step-*.pt")):
        then = f"the last checkpoint is in {str(kept)!r} (train and distill go on with --resume)"
    else:
        then = "no checkpoint was written yet"
    return f"the {whose} memory ran out{step}{where}: {cure}; {then}"


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error and those that led to it: leaving a half-recorded graph raises one that hides the true one."""
    chain: list[BaseException] = []
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _advice(part: str, frame: FrameType | None, config: RunConfig) -> tuple[str, str]:
    """Where it happened, and which setting helps there."""
    batch = f"sampler.batch_size ({config.sampler.batch_size})"
    pieces = f"raise accumulate to {2 * config.accumulate}, which computes the batch in pieces"
    table = "store its vectors with `understudy embed` and pass table:DIR"
    name = frame.f_locals.get("name") if frame is not None else None
    advice = {
        "student": (" in the student", f"{pieces}, or lower {batch} or student.input_size"),
        "teacher": (f" in the teacher {name!r}", f"{pieces}, or {table}"),
        "losses": (" in the losses", f"lower {batch}, or the list_length or mixes of a loss that has them"),
        "answers": (" while the teacher was asked about every image", table),
        "evaluation": (" in the evaluation", f"lower evaluation.batch_size ({config.evaluation.batch_size})"),
        "images": (" while images were copied to it", "set data.resident to 'never', which streams them"),
        "decoding": (" while images were decoded", "choose a smaller data.resize, or pack the images"),
    }
    return advice.get(part, ("", f"lower {batch} or student.input_size"))


def _is(frame: FrameType, function: object) -> bool:
    return frame.f_code is getattr(function, "__code__", None)
