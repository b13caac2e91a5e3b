"""The ceiling: forward, backward and update of the bare student on a batch that lies on the device."""

from __future__ import annotations

import contextlib
import statistics
import time

import torch
from _losses_gpu import Call, capture
from _losses_table import Line, in_short
from _throughput_setting import PER_CLASS, Setting

from understudy.heap import kept_memory
from understudy.losses import MultiSimilarity, SimilarityKL
from understudy.models import Embedder

AS_IT_IS, RECORDED, COMPILED, BOTH = "as it is", "recorded", "compiled", "compiled and recorded"
KEPT = "memory kept"  # on a CPU, where compiling keeps it too


class Bare:
    """A student with what trains it, and nothing else.

    Networks and losses are compiled once, when they are first needed.

    Args:
        setting: The network and the sizes.

    Attributes:
        ways: The ways there are.
        kept: Those of them that a CPU takes with freed memory kept, as the package's loop does.
        best: The fastest of them without a teacher, once it is known.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.ways = (AS_IT_IS, RECORDED if setting.cuda else KEPT)
        if setting.compiles:
            torch._dynamo.reset()  # noqa: SLF001 (an earlier row's sizes and networks are over)
            self.ways += (COMPILED, *((BOTH,) if setting.cuda else ()))
        self.kept = tuple(way for way in self.ways if way in (KEPT, COMPILED))
        self._student = setting.embedder(setting.student).train()
        pre = self._student.preprocessing
        self._images = torch.randn(setting.batch, pre.channels, *pre.size, device=setting.device)
        if setting.cuda:
            self._images = self._images.to(memory_format=torch.channels_last)
        self._labels = torch.arange(setting.batch, device=setting.device) // PER_CLASS
        self._optimiser = torch.optim.AdamW(
            self._student.parameters(), lr=1e-3, fused=True, capturable=setting.cuda
        )
        self.best: str | None = None

    def ceiling(self, line: Line, teacher: Embedder | None = None) -> dict[str, float]:
        """Images/s in the fastest way, then in each; what went wrong in one is noted in the line.

        Args:
            line: The line that is measured.
            teacher: Asked about the batch in every step, if given.
        """
        rates: dict[str, float] = {}
        memory: dict[str, float] = {}
        wrong: list[str] = []
        for way in self.ways if teacher is None else self._fast():
            reset_peak(self.setting)
            try:
                found = self._rounds(way, teacher)
            except Exception as error:  # noqa: BLE001 (the other ways are still measured)
                wrong.append(f"{way}: {in_short(error)}")
            else:
                rates[way] = statistics.median(found)
                memory[way] = peak(self.setting)
        line.note = "; ".join(wrong)
        if not rates:
            raise RuntimeError(line.note)
        best = max(rates, key=lambda way: rates[way])
        if teacher is None:
            self.best = best
        return {"images/s": rates[best], **rates, "GB at most": memory[best]}

    def step(self, way: str, teacher: Embedder | None = None) -> Call:
        """One training step in one of the ways."""
        loss, kl = MultiSimilarity(), SimilarityKL()
        network, ask = self._student.embed, None if teacher is None else teacher.embed
        if way in (COMPILED, BOTH):
            loss.compile(dynamic=False)
            kl.compile(dynamic=False)
            network = torch.compile(network, dynamic=False)
            ask = None if ask is None else torch.compile(ask, dynamic=False)

        def take() -> None:
            self._optimiser.zero_grad(set_to_none=True)
            with self.setting.autocast():
                embedding = network(self._images).float()
                if ask is not None:
                    with torch.no_grad():
                        taught = ask(self._images).float()
            value = loss(embedding, self._labels)
            if ask is not None:
                value = value + kl(embedding, taught)
            value.backward()
            self._optimiser.step()

        return capture(take, self.setting.device) if way in (RECORDED, BOTH) else take

    def _fast(self) -> tuple[str, ...]:
        """The ways that can be the fastest with a teacher: as the loop does it, and the fastest without."""
        if self.best is None:
            return self.ways
        return tuple(way for way in self.ways if way in (RECORDED, KEPT, self.best))

    def _rounds(self, way: str, teacher: Embedder | None) -> list[float]:
        keeping = contextlib.nullcontext() if way == AS_IT_IS else kept_memory(self.setting.device)
        with keeping:
            return rates(self.step(way, teacher), self.setting.batch, self.setting)


def rates(step: Call, images: int, setting: Setting, count: int | None = None) -> list[float]:
    """Images/s in each of a few rounds of a step, after some to warm up.

    Args:
        step: One step.
        images: Images in it.
        setting: Says where, and how long a round is.
        count: Rounds; as many as the setting says unless given.
    """
    _timed(step, 3, setting)
    steps = round(min(2000, max(3, setting.seconds * 3 / _timed(step, 3, setting))))
    return [steps * images / _timed(step, steps, setting) for _ in range(count or setting.rounds)]


def reset_peak(setting: Setting) -> None:
    """Lets the measurement of the peak memory begin anew."""
    if setting.cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)


def peak(setting: Setting) -> float:
    """The most gigabytes that PyTorch held since; the process's own at its most on a CPU."""
    if setting.cuda:
        return torch.cuda.max_memory_allocated(setting.device) / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _timed(step: Call, steps: int, setting: Setting) -> float:
    """Seconds that some steps take."""
    if setting.cuda:
        torch.cuda.synchronize(setting.device)
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if setting.cuda:
        torch.cuda.synchronize(setting.device)
    return time.perf_counter() - started
