"""The command line's root: finds commands, and turns mistakes into one sentence and an exit status."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator

import typer

from understudy.errors import UserError

app = typer.Typer(
    name="understudy",
    help="Distil a large embedding model into a small one that ranks images the way the large one does.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_TOGETHER = ("train", "distill", "embed", "evaluate")  # commands that several processes can share

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # click's own, which typer does not name


def main() -> None:
    """Runs a command; exits with 0, with 2 on a user's mistake, with 1 on anything else."""
    from understudy.cli import (  # noqa: F401
        compare,
        demo,
        distill,
        embed,
        evaluate,
        import_table,
        prepare,
        train,
    )
    from understudy.training.processes.distributed import LostProcess
    from understudy.training.signals import Stopped

    try:
        with _processes():
            status = app(standalone_mode=False, prog_name="understudy")
    except UserError as error:
        sys.exit(_complain(f"error: {error}", 2, error))
    except _UsageError as error:
        sys.exit(_complain(_usage(error), 2, error))
    except Stopped as stopped:
        cure = "run the same command again (train and distill with --resume)"
        sys.exit(_complain(f"{stopped}: {cure}", 1, stopped))
    except LostProcess as lost:
        sys.exit(_complain(str(lost), 1, lost, of_all=True))
    except (MemoryError, RuntimeError) as error:
        from understudy.training.ran_out import ran_out

        if not ran_out(error):
            raise
        sentence = "error: the memory ran out: pass a smaller --batch-size (embed, evaluate)"
        sys.exit(_complain(sentence, 2, error))
    if status:  # typer makes a number of Ctrl-C
        sys.exit(_complain("interrupted", 1))


@contextlib.contextmanager
def _processes() -> Iterator[None]:
    """Joins the processes that a launcher started; the first of them prints."""
    from understudy.training.processes import distributed

    if distributed.started() == 1:
        yield
        return
    command = next(iter(sys.argv[1:]), "")
    with contextlib.ExitStack() as stack:
        stack.enter_context(distributed.launched())
        if command not in _TOGETHER:
            raise UserError(f"`understudy {command}` is work for one process: start it without torchrun")
        if not distributed.is_writer():
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def _complain(sentence: str, status: int, error: BaseException | None = None, *, of_all: bool = False) -> int:
    """Prints a sentence; of several processes that end with the same one, the first alone does."""
    from understudy.training.processes.distributed import first_to_say

    if first_to_say(str(error or sentence), of_all=of_all):
        print(sentence, file=sys.stderr)
    return status


def _usage(error: BaseException) -> str:
    """What was wrong with the words of the command line; the help itself where there were none."""
    message: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if "\n" in message or context is None:
        return message
    sentence = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    return f"error: {sentence}: see {context.command_path} --help"
