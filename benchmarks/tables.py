"""How fast a table's vectors are read by row number, and in how much memory.

    python benchmarks/tables.py [--rows 1000000] [--dim 768] [--out benchmarks/results/tables-cpu]

A table of random vectors is written to a temporary folder once for each kind: in shards of 8,192 vectors, as
imported ones are, and of 1,024, about as `understudy embed` writes them for photographs. Then 256 random rows
at a time are read by number, their pages in memory: the table is read through once before. Beside it, in
interleaved rounds, the same rows of one memory-mapped matrix by numpy's own indexing. "most held" is the peak
of what the reading allocates, as multiples of the batch it returns; "grew by" is the growth of the process
over all rounds, without pages of mapped files.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from understudy.data.table import Table, TablePlan, TableWriter
from understudy.data.table.plan import Dtype
from understudy.files import write_json, write_text

BATCH = 256
KINDS: tuple[tuple[Dtype, int], ...] = (
    ("float32", 8192),
    ("float32", 1024),
    ("float16", 1024),
    ("int8", 1024),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=None, help="where to put the tables meanwhile")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tables-cpu"))
    arguments = parser.parse_args()
    rows = []
    for dtype, shard in KINDS:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
            rows.append(measure(Path(place), dtype, shard, arguments))
            print(rows[-1], flush=True)
    result = {
        "rows": arguments.rows,
        "dim": arguments.dim,
        "batch": BATCH,
        "tables": rows,
        "processors": os.cpu_count(),
        "load": [round(load, 1) for load in os.getloadavg()],
    }
    write_json(arguments.out.with_suffix(".json"), result)
    write_text(arguments.out.with_suffix(".md"), to_markdown(result))
    print(to_markdown(result))


def measure(place: Path, dtype: Dtype, shard: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one table."""
    rows, dim, rounds = arguments.rows, arguments.dim, arguments.rounds
    written = write(place, dtype, shard, rows, dim)
    start = time.perf_counter()
    table = Table.open(place / "table")
    opening = time.perf_counter() - start
    start = time.perf_counter()
    numbers = table.rows(table.ids[::-1])
    joining = time.perf_counter() - start
    assert numbers[0] == rows - 1
    works: dict[str, Callable[[np.ndarray], np.ndarray]] = {"table": table.read}
    if dtype == "float32":
        mapped = np.load(place / "matrix.npy", mmap_mode="r")
        works["one mapped matrix"] = lambda wanted: np.asarray(mapped[wanted])
    for begin in range(0, rows, 65536):  # every page of every file
        table.read(np.arange(begin, min(begin + 65536, rows)))
    times, grown = timed(works, rows, rounds)
    some = np.random.default_rng(1).integers(0, rows, BATCH)
    tracemalloc.start()
    batch = table.read(some)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "dtype": dtype,
        "shard": shard,
        "GB": round(written / 1e9, 2),
        "open ms": round(1e3 * opening, 1),
        "join ms": round(1e3 * joining, 1),
        "ms": {name: round(1e3 * statistics.median(taken), 3) for name, taken in times.items()},
        "slowest of twenty ms": round(1e3 * sorted(times["table"])[-max(1, rounds // 20)], 3),
        "most held": round(most / batch.nbytes, 2),
        "resident MB": round(grown / 2**20, 1),
        "neighbour agreement": table.neighbour_agreement,
    }


def write(place: Path, dtype: Dtype, shard_rows: int, rows: int, dim: int) -> int:
    """The table, and for comparison one matrix; says how many bytes the table takes."""
    generator = np.random.default_rng(0)
    ids = [f"images/{number:07d}.jpg" for number in range(rows)]
    matrix = None
    if dtype == "float32":
        matrix = np.lib.format.open_memmap(
            place / "matrix.npy", mode="w+", dtype=np.float32, shape=(rows, dim)
        )
    plan = TablePlan("noise", dim, dtype, shard_rows=shard_rows)
    with TableWriter.open(place / "table", ids, plan=plan) as writer:
        for shard in range(writer.shards):
            items = writer.items(shard)
            vectors = generator.standard_normal((len(items), dim), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            writer.write(shard, vectors)
            if matrix is not None:
                matrix[items.start : items.stop] = vectors
        writer.finish()
    return sum(file.stat().st_size for file in (place / "table").rglob("*") if file.is_file())


def timed(
    works: dict[str, Callable[[np.ndarray], np.ndarray]], rows: int, rounds: int
) -> tuple[dict[str, list[float]], int]:
    """Seconds of each round by name, and by how many bytes the process grew."""
    generator = np.random.default_rng(0)
    batches = [generator.integers(0, rows, BATCH) for _ in range(rounds)]
    times: dict[str, list[float]] = {name: [] for name in works}
    for wanted in batches[:3]:
        for work in works.values():
            work(wanted)
    before = _own_memory()
    for wanted in batches:
        for name, work in works.items():
            start = time.perf_counter()
            work(wanted)
            times[name].append(time.perf_counter() - start)
    return times, _own_memory() - before


def _own_memory() -> int:
    """Resident bytes of this process that belong to no file."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def to_markdown(result: dict[str, Any]) -> str:
    """The figures as a table."""
    head = (
        f"{result['rows']:,} × {result['dim']} vectors; {result['batch']} random rows by number, warm; "
        f"{result['processors']} processors, load {result['load'][0]}."
    )
    columns = (
        "stored as",
        "in a shard",
        "size",
        "median",
        "slowest of twenty",
        "one mapped matrix",
        "most held",
        "grew by",
        "opened in",
        "ids joined in",
        "ten nearest kept",
    )
    lines = [head, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in result["tables"]:
        kept, ms = row["neighbour agreement"], row["ms"]
        cells = (
            row["dtype"],
            f"{row['shard']:,}",
            f"{row['GB']} GB",
            f"{ms['table']:.2f} ms",
            f"{row['slowest of twenty ms']:.2f} ms",
            f"{ms['one mapped matrix']:.2f} ms" if "one mapped matrix" in ms else "–",
            f"{row['most held']} × the batch",
            f"{row['resident MB']} MB",
            f"{row['open ms']:.0f} ms",
            f"{row['join ms']:.0f} ms",
            "–" if kept is None else f"{kept:.2%}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
