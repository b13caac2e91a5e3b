"""Making a store, shard by shard, so that what was done is never lost and half a shard never believed."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.data.decoding import Progress
from understudy.data.preprocessing import Interpolation, ResizeMode
from understudy.data.store.clearing import make_way, refuse_strange
from understudy.data.store.finishing import finish, list_unreadable
from understudy.data.store.form import Form
from understudy.data.store.opening import Store, read_facts, read_index
from understudy.data.store.places import FACTS, default_place, part_name
from understudy.data.store.plan import Plan
from understudy.data.store.shards import CHECKSUM, read_part, still_true, write_part
from understudy.data.store.working import write_shards
from understudy.errors import UserError
from understudy.files import make_directory
from understudy.locking import only_one

if TYPE_CHECKING:
    import pyarrow as pa

    from understudy.data.dataset import Dataset

SHARD_BYTES = 128 * 2**20


def pack(
    source: str | Path | Dataset,
    out: str | Path | None = None,
    *,
    resize: tuple[int, int],
    mode: ResizeMode = "shorter",
    channels: int = 3,
    interpolation: Interpolation = "bicubic",
    workers: int | None = None,
    skip_unreadable: bool = False,
    overwrite: bool = False,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Store:
    """Decodes every image of a data set once and writes the pixels where they are mapped into memory.

    A run that was cut off goes on at the first missing shard. Packing again what is packed already does the
    shards anew whose source files have changed, and nothing where none has.

    Args:
        source: A manifest's path, a folder of images, or a data set.
        out: The store's directory; none: beside the manifest or folder, where `open_dataset` finds it.
        resize: Height and width, see `understudy.data.preprocessing.decode`.
        mode: See there.
        channels: 1 or 3.
        interpolation: See there.
        workers: Processes, each writing whole shards; none: this one alone. All of them together decode in
            one thread a processor.
        skip_unreadable: Leave images out that cannot be read instead of stopping once all are listed.
        overwrite: Replace a store of other images or another form.
        shard_bytes: About how large a shard is; a worker holds one in memory.
        progress: Called with (done, total) images.
        say: Told which images were left out.

    Returns:
        The store, opened.

    Raises:
        UserError: Images cannot be read (all are listed in ``unreadable.csv``), the place is taken by another
            store or another process, the disk is full, or the items are not image files.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp()) / "photos" / "owl"
        >>> folder.mkdir(parents=True)
        >>> Image.new("RGB", (50, 40)).save(folder / "1.png")
        >>> store = pack(folder.parent, resize=(32, 32))
        >>> store.place.name, len(store), str(store.form)
        ('photos.pack', 1, '32x32,shorter,rgb,bicubic')
    """
    dataset, place = _opened(source, out)
    form = Form((resize[0], resize[1]), mode, channels, interpolation)
    plan = Plan(dataset.manifest, form, form.images_in(shard_bytes))
    refuse_strange(place)
    make_directory(place)
    with only_one(place, "is packing into", "wait for it, or pass another place"):
        make_way(place, plan, overwrite)
        records = _done(place, plan)
        missing = [shard for shard in range(plan.shards) if shard not in records]
        if missing or not (place / FACTS).is_file():
            _reopen(place, plan, records)
            _refuse_full(place, plan, missing)
            write_shards(dataset, plan, missing, place, workers=workers or 1, progress=progress)
            records |= {shard: _written(place, plan, shard) for shard in missing}
            list_unreadable(place, records, skip=skip_unreadable, say=say)
            finish(place, plan, records)
        else:
            list_unreadable(place, records, skip=skip_unreadable, say=say)
        for shard in range(plan.shards):
            (place / part_name(plan.name, shard)).unlink(missing_ok=True)
    return Store.open(place)


def _opened(source: str | Path | Dataset, out: str | Path | None) -> tuple[Dataset, Path]:
    from understudy.data.dataset import Dataset, open_dataset

    dataset = source if isinstance(source, Dataset) else open_dataset(source)
    if dataset.embedded is not None:
        raise UserError(f"{dataset.name!r} holds its images decoded: there is nothing to pack")
    if dataset.manifest.texts is not None:
        raise UserError(f"the items of {dataset.name!r} are texts: only images can be packed")
    if not len(dataset.manifest):
        raise UserError(f"{dataset.name!r} has no images: there is nothing to pack")
    if out is None and isinstance(source, Dataset):
        raise UserError("a data set in memory has no place of its own: pass `out`")
    return dataset, default_place(str(source)) if out is None else Path(out)


def _done(place: Path, plan: Plan) -> dict[int, pa.Table]:
    """The records of the shards that are there and still true."""
    records: dict[int, pa.Table] = {}
    index, sums = None, []
    if (place / FACTS).is_file():
        facts = read_facts(place)
        sums = [shard["checksum"] for shard in facts["shards"]]
        with contextlib.suppress(UserError):  # without its index, all of a store is done again
            index = read_index(place, facts)
    for shard in range(plan.shards):
        if index is not None:
            rows = plan.rows(shard)
            known = index.slice(int(rows[0]), len(rows))
            record: pa.Table | None = known.replace_schema_metadata({CHECKSUM: sums[shard]})
        else:
            record = read_part(plan, shard, place)
        if record is not None and still_true(record, plan, shard, place):
            records[shard] = record
    return records


def _reopen(place: Path, plan: Plan, records: dict[int, pa.Table]) -> None:
    """Turns a finished store into one to go on with."""
    if (place / FACTS).is_file():
        for shard, record in records.items():
            write_part(record, plan, shard, place)
        (place / FACTS).unlink()


def _refuse_full(place: Path, plan: Plan, missing: list[int]) -> None:
    need = sum(len(plan.rows(shard)) for shard in missing) * plan.form.line
    free = shutil.disk_usage(place).free
    if need > free:
        raise UserError(
            f"{str(place)!r} needs {need / 1e9:.1f} GB more and {free / 1e9:.1f} GB are free on that disk: "
            "free some space, pass another place, or pack at a smaller size"
        )


def _written(place: Path, plan: Plan, shard: int) -> pa.Table:
    record = read_part(plan, shard, place)
    if record is None:
        raise UserError(
            f"{str(place / part_name(plan.name, shard))!r} has vanished: run the same command again"
        )
    return record
