"""``understudy prepare``: an official data-set layout becomes a manifest."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from understudy.cli.app import app
from understudy.data.layouts import LAYOUTS
from understudy.errors import UserError, suggest, unknown

if TYPE_CHECKING:
    from understudy.data.layouts import Layout, Prepared
    from understudy.training.progress import Reporter

_COMMON = {"path", "expected", "partial", "boxes", "progress"}


def _help() -> str:
    """The end of the command's help: every layout with its line and its own options."""
    width = max(map(len, LAYOUTS))
    lines = []
    for name, layout in LAYOUTS.items():
        own = "".join(f" [{option}=]" for option in _own(layout))
        lines.append(f"  {name:<{width}}  {layout.summary}{own}")
    return "\b\nLayouts, each with what --option can set:\n" + "\n".join(lines)


def _own(layout: Layout) -> dict[str, inspect.Parameter]:
    """The options that this layout alone has."""
    parameters = inspect.signature(layout.read).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in _COMMON}


@app.command(epilog=_help())
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
    pack: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="also decode all images once, into a store beside the manifest: 224, 256x128"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="processes that pack (default: this one alone)", min=1)
    ] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="leave unreadable images out of the pack")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace a pack of other images or of another size")
    ] = False,
) -> None:
    """Write the manifest of a data set in its official layout, counted against what was published."""
    from understudy.data.manifest_files import check_ending
    from understudy.data.store import pack as pack_images
    from understudy.data.store import parse_size
    from understudy.training.progress import Reporter

    if name not in LAYOUTS:
        raise unknown("data-set layout", name, LAYOUTS)
    check_ending(out)
    form = parse_size(pack) if pack is not None else None
    options = _options(name, LAYOUTS[name], partial=partial, boxes=boxes, texts=option or [])
    with Reporter() as reporter:
        prepared = _read(LAYOUTS[name], path, options, reporter)
        prepared.save(out)
        reporter.stop()
        typer.echo(_table(prepared))
        for note in prepared.notes:
            typer.echo(f"note: {note}")
        if prepared.splits:
            typer.echo(f"{len(prepared.splits)} ways to split it: {_shortened(sorted(prepared.splits))}")
        manifest = prepared.manifest
        typer.echo(f"{len(manifest):,} images, {len(manifest.classes):,} classes: {out}")
        if form is not None:
            reporter.start("pack", total=len(manifest))
            store = pack_images(
                out,
                **form._asdict(),
                workers=workers,
                skip_unreadable=skip_unreadable,
                overwrite=overwrite,
                progress=reporter.tick,
                say=reporter.say,
            )
            reporter.stop()
            typer.echo(f"packed {len(store):,} images, {store.form}: {store.place}")


def _read(layout: Layout, path: Path, options: dict[str, Any], reporter: Reporter) -> Prepared:
    if "progress" in inspect.signature(layout.read).parameters:
        reporter.start("read", total=0)
        options = {**options, "progress": reporter.tick}
    return layout.read(path, **options)


def _options(name: str, layout: Layout, *, partial: bool, boxes: bool, texts: list[str]) -> dict[str, Any]:
    """The keyword arguments of the layout's reader, refused where it does not take them."""
    values: dict[str, Any] = {
        word: True for word, wanted in (("partial", partial), ("boxes", boxes)) if wanted
    }
    for word in values:
        if word not in inspect.signature(layout.read).parameters:
            raise UserError(f"--{word} does not apply to {name!r}: leave it out")
    own = _own(layout)
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--option {text!r} is not NAME=VALUE: write for example {text}=…")
        if key not in own:
            cure = suggest(key, own) if own else "it has none, leave it out"
            raise UserError(f"the layout {name!r} has no option {key!r}: {cure}")
        values[key] = _typed(key, value, own[key].default)
    return values


def _typed(key: str, value: str, default: object) -> int | str:
    """An option's value, of the type of its default."""
    if not isinstance(default, int):
        return value
    try:
        return int(value)
    except ValueError:
        raise UserError(f"--option {key}={value}: {value!r} is not a whole number") from None


def _shortened(names: list[str]) -> str:
    """All of a few names, the ends of a long list."""
    return ", ".join(names if len(names) <= 6 else [*names[:2], "…", *names[-2:]])


def _table(prepared: Prepared) -> str:
    """One line a split: images, classes, cameras."""
    manifest = prepared.manifest
    lines = [("split", "images", "classes", "cameras")]
    for split in dict.fromkeys(manifest.splits):
        rows = [row for row, other in enumerate(manifest.splits) if other == split]
        classes = {manifest.labels[row] for row in rows} - {""}
        cameras = {manifest.cameras[row] for row in rows} - {""} if manifest.cameras is not None else set()
        lines.append((split or "(none)", f"{len(rows):,}", f"{len(classes):,}", str(len(cameras) or "-")))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
