"""No process outlives the one that started it."""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess


def end_with_parent() -> None:
    """Ends this process at once when its parent ends, whatever ends that: `kill -9` tells nobody.

    What it was about to write is not written; a child that lived on would write into what the next start of
    the same command works on, and hold its GPU.

    Example:
        >>> end_with_parent()  # of a process that `multiprocessing` has not started, there is none to follow
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
