"""Distil a large embedding model into a small one that ranks images the way the large one does.

Example:
    >>> import understudy
    >>> run = understudy.distill(
    ...     "photos/", "timm:resnet50?weights=r50.pth", "mobilenetv3_small_100", out="run"
    ... )  # doctest: +SKIP
    >>> run.model.encode(["query.jpg"])  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from understudy._version import __version__
from understudy.errors import UserError

if TYPE_CHECKING:
    from understudy.models import load
    from understudy.verbs import distill, embed, evaluate, import_table, train

__all__ = ["UserError", "__version__", "distill", "embed", "evaluate", "import_table", "load", "train"]

_PLACES = {
    "distill": "understudy.verbs",
    "embed": "understudy.verbs",
    "evaluate": "understudy.verbs",
    "import_table": "understudy.verbs",
    "load": "understudy.models",
    "train": "understudy.verbs",
}


def __getattr__(name: str) -> Any:
    """Imports a verb when it is first used, so that `import understudy.losses` stays light."""
    if name in _PLACES:
        import importlib

        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'understudy' has no attribute {name!r}")
