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


def main() -> None:
    """Runs a command; exits with 0, with 2 on a user's mistake, with 1 on anything else."""
    from understudy.cli import compare, demo, distill, embed, evaluate, prepare, train  # noqa: F401
    from understudy.training.signals import Stopped

    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(1)
