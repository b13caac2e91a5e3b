"""The rows of the search's table."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _losses_table import Line, measure, say
from _search_data import SMALL, Sizes, collapsed, products, reid
from _search_memory import CUTS, in_fresh_process, judged
from _search_reference import straightforward
from _search_watch import Watch
from torch import Tensor

from understudy import search
from understudy.evaluation import reidentification
from understudy.metrics import RankedMetrics


class Bench:
    """All rows on one device.

    Args:
        device: ``cpu`` or ``cuda``.
        small: Sizes for a rehearsal.
        features: A file of real features for the re-identification row.
    """

    def __init__(self, device: str, *, small: bool, features: Path | None) -> None:
        self.device = torch.device(device)
        self.small = small
        self.sizes = SMALL if small else Sizes()
        self.features = features
        points, labels = products(self.sizes)
        self.points, self.labels = points.to(self.device), labels.to(self.device)
        self.positives = self.labels.bincount()[self.labels] - 1
        self._calculated: dict[str, tuple[float, dict[str, float]]] = {}
        say(f"{len(points)} products of {self.sizes.classes} classes, {points.shape[1]} dimensions")

    def run(self, save: Callable[[list[Line]], None]) -> None:
        """Measures row after row and saves the table after each."""
        lines: list[Line] = []
        for line, work in self._rows():
            lines.append(measure(line, work))
            save(lines)

    def _rows(self) -> Iterator[tuple[Line, Callable[[], dict[str, float]]]]:
        cuda = self.device.type == "cuda"
        size = f"{self.sizes.images:,} × {self.sizes.dim}"
        k, some = max(CUTS), self.points[: len(self.points) if cuda else self.sizes.some]
        line = Line(
            f"Recall@{{1,10,100,1000}} and MAP@R of {size}, all against all",
            "≤ 1.3 × the product and top-k",
            1.3,
            note=f"against torch.mm and torch.topk at k = {k} on blocks of the same size, in turn",
        )
        yield line, self._against_bare
        line = Line(f"extra memory of that pass, {size}", "< 1500 MB", 1500)
        line.note = "torch.cuda.max_memory_allocated" if cuda else f"peak of a process, {len(some):,} queries"
        yield line, lambda: self._memory("products", len(some))
        if not cuda:
            what = "P@1 and MAP@R against pytorch-metric-learning's AccuracyCalculator"
            note = f"{size}, k = max_bin_count, its default search: faiss-cpu's flat index"
            for precision in ("float32", "bf16"):
                line = Line(f"{what}, {precision}", "≥ 2 × as fast", 2, at_least=True, note=note)
                yield line, lambda precision=precision: self._against_calculator(precision)  # type: ignore[misc]
        rows, queries = self.sizes.gallery, self.sizes.queries
        line = Line(f"{queries:,} queries, the 10 nearest of {rows:,} × 128", "< 4000 MB extra", 4000)
        yield line, lambda: self._memory("large", queries)
        line = Line("Market-1501's protocol", "≥ 10 × the NumPy form", 10, at_least=True)
        yield line, lambda: self._reid(line)
        for name, points in (("", self.points), (" in a narrow cone", collapsed(self.points))):
            for precision in ("bf16", "tf32") if cuda else ("bf16",):
                for k in (10, 1000):
                    yield (
                        Line(f"{precision} against float32, {len(some):,} queries of {size}{name}, k = {k}"),
                        lambda k=k, precision=precision, points=points: self._lowered(  # type: ignore[misc]
                            points[: len(some)], points, k, precision
                        ),
                    )
        if not cuda:
            yield Line(f"faiss's default index against the exact search, {size}, k = 10"), self._faiss

    def _against_bare(self) -> dict[str, float]:
        return self._pass_by_pass() if self.device.type == "cuda" else self._block_by_block()

    def _block_by_block(self) -> dict[str, float]:
        """One pass over all queries; after each block the bare form on the same queries."""
        k = max(CUTS)
        ours, bare = self._watch(), self._watch()
        ranked = RankedMetrics(CUTS)
        tile = torch.empty(0, device=self.device)
        with ours:
            found = search.blocks(self.points, self.points, k, exclude="self")
        while True:
            with ours:
                block = next(found, None)
                if block is not None:
                    ranked.update(*judged(block, self.labels, self.positives))
            if block is None:
                break
            here = slice(int(block.rows[0]), int(block.rows[-1]) + 1)
            if len(tile) < len(block.rows):
                tile = torch.empty(len(block.rows), len(self.points), device=self.device)
                self._bare(here, tile, k)  # its first touch is nobody's time
            with bare:
                self._bare(here, tile, k)
        with ours:
            figures = ranked.result()
        return {"×": ours.seconds / bare.seconds, "s": ours.seconds, "s bare": bare.seconds, **figures}

    def _pass_by_pass(self, rounds: int = 5) -> dict[str, float]:
        """Whole passes in turn, the first to warm up: stopping after each block would make a GPU wait."""
        k = max(CUTS)
        pairs, figures = [], {}
        for _ in range(rounds):
            ours, bare, sizes = self._watch(), self._watch(), list[int]()
            with ours:
                ranked = RankedMetrics(CUTS)
                for block in search.blocks(self.points, self.points, k, exclude="self"):
                    ranked.update(*judged(block, self.labels, self.positives))
                    sizes.append(len(block.rows))
                figures = ranked.result()
            tile = torch.empty(max(sizes), len(self.points), device=self.device)
            with bare:
                start = 0
                for size in sizes:
                    self._bare(slice(start, start + size), tile, k)
                    start += size
            pairs.append((ours.seconds, bare.seconds))
        ratio = statistics.median(mine / other for mine, other in pairs[1:])
        seconds, plain = (statistics.median(column) for column in zip(*pairs[1:], strict=True))
        return {"×": ratio, "s": seconds, "s bare": plain, **figures}

    def _bare(self, here: slice, tile: Tensor, k: int) -> None:
        some = tile[: here.stop - here.start]
        torch.mm(self.points[here], self.points.T, out=some)
        torch.topk(some, k, dim=1)

    def _against_calculator(self, precision: search.Precision) -> dict[str, float]:
        if not self._calculated:
            self._calculate()
        ours, figures = self._calculated[precision]
        theirs, got = self._calculated["theirs"]
        if max(abs(figures[name] - got[name]) for name in got) > 1e-4:
            raise ValueError(f"the figures differ: {figures} and {got}")
        return {"×": theirs / ours, "s": ours, "s theirs": theirs, **figures}

    def _calculate(self) -> None:
        """A quarter of the queries after the other, by the calculator and by us in turn."""
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        calculator = AccuracyCalculator(
            include=("precision_at_1", "mean_average_precision_at_r"),
            k="max_bin_count",
            device=torch.device("cpu"),
        )
        precisions: tuple[search.Precision, ...] = ("float32", "bf16")
        ranked = {precision: RankedMetrics((1,)) for precision in precisions}
        watches = {name: self._watch() for name in ("theirs", *precisions)}
        sums = {"recall@1": 0.0, "map@r": 0.0}
        for rows in torch.arange(len(self.points)).chunk(4):
            some, labels, start = self.points[rows], self.labels[rows], -int(rows[0])
            all_points, all_labels = self.points.roll(start, 0), self.labels.roll(start, 0)
            with watches["theirs"], warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = calculator.get_accuracy(some, labels, all_points, all_labels, ref_includes_query=True)
            sums["recall@1"] += got["precision_at_1"] * len(rows) / len(self.points)
            sums["map@r"] += got["mean_average_precision_at_r"] * len(rows) / len(self.points)
            for precision in precisions:
                with watches[precision]:
                    k = int(self.positives.max())
                    for found in search.blocks(some, self.points, k, exclude=rows, precision=precision):
                        block = found._replace(rows=rows[found.rows])
                        ranked[precision].update(*judged(block, self.labels, self.positives))
            say(", ".join(f"{name} {watch.seconds:.1f} s" for name, watch in watches.items()) + " so far")
        self._calculated = {p: (watches[p].seconds, ranked[p].result()) for p in precisions}
        self._calculated["theirs"] = watches["theirs"].seconds, sums

    def _memory(self, case: str, queries: int) -> dict[str, float]:
        if self.device.type == "cpu":
            return in_fresh_process(case, queries, small=self.small)
        if case == "products":
            return self._on_card(self._pass, 0)
        query = torch.randn(queries, 128, device=self.device)
        gallery = torch.randn(self.sizes.gallery, 128, device=self.device)
        return self._on_card(lambda: search.topk(query, gallery, 10), 1)

    def _pass(self) -> None:
        ranked = RankedMetrics(CUTS)
        for block in search.blocks(self.points, self.points, max(CUTS), exclude="self"):
            ranked.update(*judged(block, self.labels, self.positives))

    def _on_card(self, work: Callable[[], object], warm: int) -> dict[str, float]:
        for _ in range(warm):
            work()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        watch = self._watch()
        with watch:
            work()
        return {"MB": (torch.cuda.max_memory_allocated() - before) / 1e6, "s": watch.seconds}

    def _reid(self, line: Line) -> dict[str, float]:
        data = reid(self.sizes, self.features)
        size = f"{len(data.query):,} × {len(data.gallery):,} × {data.query.shape[1]}"
        line.note = f"{size}, {data.about}; neither form with intervals"
        cuts = (1, 5, 10)
        query, gallery = (torch.from_numpy(x).to(self.device) for x in (data.query, data.gallery))
        labels = data.query_ids, data.gallery_ids, data.query_cameras, data.gallery_cameras
        ours, theirs, vectorised = self._watch(), self._watch(), self._watch()
        some = (x[::16] for x in labels)  # files are sorted by identity: every 16th image of all
        reidentification(query[::16], gallery[::16], *some, ks=cuts)
        product = self._watch()
        with product:
            data.query @ data.gallery.T  # in both forms, and no faster in ours
        for _ in range(3):
            with ours:
                report = reidentification(query, gallery, *labels, ks=cuts, confidence=None)
            with vectorised:
                straightforward(data, cuts, vectorised=True)
        with theirs:
            want = straightforward(data, cuts, vectorised=False)
        different = {name: report.metrics[name] - value for name, value in want.items()}
        if max(map(abs, different.values())) > 2e-5:
            raise ValueError(f"the figures differ: {different}")
        return {
            "×": theirs.seconds / (ours.seconds / 3),
            "× a vectorised one": vectorised.seconds / ours.seconds,
            "s": ours.seconds / 3,
            "s NumPy": theirs.seconds,
            "s vectorised": vectorised.seconds / 3,
            "s of it the product": product.seconds,
            **want,
        }

    def _lowered(
        self, query: Tensor, gallery: Tensor, k: int, precision: search.Precision
    ) -> dict[str, float]:
        full, low, tally = self._watch(), self._watch(), search.Tally()
        search.topk(query[:300], gallery, k, precision=precision)
        for _ in range(2):
            with full:
                want = search.topk(query, gallery, k)
            with low:
                got = search.topk(query, gallery, k, precision=precision, tally=tally)
        difference = float((want[0] - got[0]).abs().max())
        if difference > 2e-6:
            raise ValueError(f"the scores differ by {difference}")
        return {
            "× the time": low.seconds / full.seconds,
            "of queries searched again": tally.share,
            "s": low.seconds / 2,
            "of rows in another place": float((want[1] != got[1]).double().mean()),
        }

    def _faiss(self) -> dict[str, float]:
        exact, theirs = self._watch(), self._watch()
        some = self.points[: self.sizes.some]
        with exact:
            want = search.topk(some, self.points, 10)[1]
        with theirs:
            got = search.topk(some, self.points, 10, backend="faiss")[1]
        found = (got[:, :, None] == want[:, None]).any(2).double().mean()
        return {
            "recall of the exact ten": float(found),
            "s with training": theirs.seconds,
            "s exact": exact.seconds,
        }

    def _watch(self) -> Watch:
        return Watch(self.device)
