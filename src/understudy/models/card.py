"""The model card that is saved with a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.models.cost import count_macs, count_parameters
from understudy.models.embedder import Embedder


def model_card(
    model: Embedder, *, title: str = "", text: str = "", metrics: Mapping[str, Any] | None = None
) -> str:
    """Writes a model's card in Markdown: what it is, what it costs, how it is used, what was measured.

    Args:
        model: The model.
        title: The heading; the backbone's name unless given.
        text: How it was made, in Markdown.
        metrics: Names and numbers for a table; anything but single values is left out.

    Example:
        >>> from understudy.models import build_embedder
        >>> card = model_card(build_embedder("smallconv_8"), metrics={"recall@1": 0.5})
        >>> print(card.splitlines()[0], "|", card.splitlines()[-1])
        # smallconv_8 | | recall@1 | 0.5000 |
    """
    config, pre = model.config, model.preprocessing
    height, width = pre.size
    colours = "grey" if pre.channels == 1 else "RGB"
    kind = "L2-normalised vectors" if config.normalize else "vectors"
    lines = [f"# {title or config.backbone}", ""]
    if text:
        lines += [text.strip(), ""]
    lines += [
        "| | |",
        "|---|---|",
        f"| backbone | {config.backbone}, {config.pooling} pooling |",
        f"| embedding | {kind} of {model.dim} numbers |",
        f"| input | {colours}, {height} × {width} pixels (height × width) |",
        f"| parameters | {count_parameters(model):,} |",
        f"| multiply-accumulates an image | {count_macs(model):,} |",
    ]
    if model.prefixes:
        lengths = ", ".join(map(str, model.prefixes))
        lines.append(f"| prefixes | the first {lengths} numbers rank by themselves: `encode(…, dim=…)` |")
    if model.space is not None:
        space = model.space
        where = f"{space.dim} numbers, those of `{space.teacher}`"
        lines.append(f'| teacher\'s space | {where}: `encode(…, space="teacher")` |')
    if model.classes is not None:
        lines += [f"| classifier | {len(model.classes):,} classes; not used by `encode` |"]
    lines += [
        "",
        "```python",
        "import understudy",
        "",
        'model = understudy.load("this/directory")',
        'vectors = model.encode(["a.jpg", "b.jpg"])  # (2, ' + str(model.dim) + ") float32",
        "```",
    ]
    rows = [f"| {name} | {_number(value)} |" for name, value in (metrics or {}).items() if _single(value)]
    if rows:
        lines += ["", "| measured | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def _single(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _number(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
