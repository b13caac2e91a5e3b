"""What reading a data set's official layout gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from understudy.data.manifest import Manifest
from understudy.data.manifest_files import check_ending
from understudy.data.protocol import Protocol, protocol_path, split_path, write_protocol, write_split


@dataclass(frozen=True)
class Prepared:
    """A data set, ready to be written as a manifest and what lies beside it.

    Attributes:
        manifest: The table of the images.
        protocol: Which image is relevant to which query, where labels do not say it.
        splits: Other ways to divide the same images: name → (id → split); ids left out belong to no split.
        notes: Sentences the user should read.

    Example:
        >>> import tempfile
        >>> out = Path(tempfile.mkdtemp()) / "birds.csv"
        >>> manifest = Manifest.of_paths(out.parent, ["a.jpg", "b.jpg"], labels=["wren", "owl"])
        >>> Prepared(manifest, splits={"swapped": {"b.jpg": "train", "a.jpg": "test"}}).save(out)
        >>> sorted(path.name for path in out.parent.iterdir())
        ['birds.csv', 'birds.splits']
    """

    manifest: Manifest
    protocol: Protocol | None = None
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def save(self, path: str | Path) -> None:
        """Writes the manifest and its sidecars, each whole or not at all.

        What lay beside an earlier manifest of that name goes. The manifest comes last: where the work is cut
        off before, its sidecars, which are checked against it when they are read, say that it must be done
        again.

        Args:
            path: The manifest, ``.csv`` or ``.parquet``.

        Raises:
            UserError: Another ending, or a place that cannot be written.
        """
        check_ending(Path(path))
        for old in split_path(path, "").parent.glob("*.parquet"):
            if old.stem not in self.splits:
                old.unlink()
        for name, splits in self.splits.items():
            write_split(splits, path, name)
        if self.protocol is not None:
            write_protocol(self.protocol, path)
        else:
            protocol_path(path).unlink(missing_ok=True)
        self.manifest.save(path)


@dataclass(frozen=True)
class Layout:
    """One data set's official layout.

    Attributes:
        read: ``read(path, *, partial=False, …) -> Prepared``; further options are keyword arguments.
        summary: A line for the help.
        recognises: Whether a folder is in this layout; None where that cannot be told.
        writes: Whether reading it writes images of its own, so that it is done once and not at each opening.
    """

    read: Callable[..., Prepared]
    summary: str
    recognises: Callable[[Path], bool] | None = None
    writes: bool = False
