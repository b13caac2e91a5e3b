"""The command line's root: finds commands, and turns mistakes into one sentence and an exit status."""

from __future__ import annotations

import sys

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

_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # click's own, which typer does not name


def main() -> None:
    """Runs a command; exits with 0, with 2 on a user's mistake, with 1 on anything else."""
    from understudy.cli import compare, demo, distill, embed, evaluate, prepare, train  # noqa: F401
    from understudy.training.signals import Stopped

    try:
        status = app(standalone_mode=False, prog_name="understudy")
    except UserError as error:
        sys.exit(_complain(f"error: {error}", 2))
    except _UsageError as error:
        sys.exit(_complain(_usage(error), 2))
    except Stopped as stopped:
        sys.exit(_complain(f"{stopped}: run the same command again (train and distill with --resume)", 1))
    if status:  # typer makes a number of Ctrl-C
        sys.exit(_complain("interrupted", 1))


def _complain(sentence: str, status: int) -> int:
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
