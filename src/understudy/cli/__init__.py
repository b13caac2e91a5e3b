"""The command line: one small file a command."""

from understudy.cli.app import main

__all__ = ["main"]
