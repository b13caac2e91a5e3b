"""``understudy prepare``: an official data-set layout becomes a manifest."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.app import app
from understudy.errors import UserError, suggest, unknown

if TYPE_CHECKING:
    from understudy.data.layouts import Layout, Prepared


def _layouts() -> str:
    """The end of the command's help: every layout with its line."""
    from understudy.data.layouts import LAYOUTS

    width = max(map(len, LAYOUTS))
    lines = (f"  {name:<{width}}  {layout.summary}" for name, layout in sorted(LAYOUTS.items()))
    return "\b\nLayouts:\n" + "\n".join(lines)


@app.command(epilog=_layouts())
def prepare(
    name: Annotated[str, typer.Argument(help="the data set's layout, see below")],
    path: Annotated[Path, typer.Argument(help="where the data set lies, as its archive unpacks")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the manifest to write (.csv or .parquet)")] = Path(
        "manifest.csv"
    ),
    partial: Annotated[
        bool, typer.Option("--partial", help="go on with what is there of an incomplete data set")
    ] = False,
    boxes: Annotated[bool, typer.Option("--boxes", help="cut every image to its bounding box")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="NAME=VALUE", help="a setting of that layout alone; repeatable"),
    ] = None,
) -> None:
    """Write the manifest of a data set in its official layout, counted against what was published."""
    from understudy.data.layouts import LAYOUTS
    from understudy.training.progress import Reporter

    if name not in LAYOUTS:
        raise unknown("data-set layout", name, LAYOUTS)
    options = _options(name, LAYOUTS[name], partial=partial, boxes=boxes, others=option or [])
    with Reporter() as reporter:
        if "progress" in _accepted(LAYOUTS[name]):
            reporter.start("read", total=0)
            options["progress"] = reporter.tick
        prepared = LAYOUTS[name].read(path, **options)
    prepared.save(out)
    typer.echo(_table(prepared))
    for note in prepared.notes:
        typer.echo(f"note: {note}")
    manifest = prepared.manifest
    typer.echo(f"{len(manifest):,} images, {len(manifest.classes):,} classes: {out}")


def _accepted(layout: Layout) -> set[str]:
    return set(inspect.signature(layout.read).parameters) - {"path", "expected"}


def _options(name: str, layout: Layout, *, partial: bool, boxes: bool, others: list[str]) -> dict[str, Any]:
    """The keyword arguments of the layout's reader, refused where it does not take them."""
    accepted = _accepted(layout)
    values: dict[str, Any] = {
        word: True for word, wanted in (("partial", partial), ("boxes", boxes)) if wanted
    }
    for word in values:
        if word not in accepted:
            raise UserError(f"--{word} does not apply to {name!r}: leave it out")
    own = accepted - {"partial", "boxes", "progress"}
    for text in others:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text!r} is not NAME=VALUE: write for example {text}=…")
        if key not in own:
            cure = suggest(key, own) if own else "it has none, leave it out"
            raise UserError(f"the layout {name!r} has no option {key!r}: {cure}")
        values[key] = value
    return values


def _table(prepared: Prepared) -> str:
    """One line a split: images, classes, cameras."""
    manifest = prepared.manifest
    lines = [("split", "images", "classes", "cameras")]
    for split in dict.fromkeys(manifest.splits):
        rows = [row for row, other in enumerate(manifest.splits) if other == split]
        cameras = {manifest.cameras[row] for row in rows} - {""} if manifest.cameras is not None else set()
        classes = {manifest.labels[row] for row in rows} - {""}
        lines.append((split or "-", f"{len(rows):,}", f"{len(classes):,}", f"{len(cameras) or '-'}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
        )
        for line in lines
    )
