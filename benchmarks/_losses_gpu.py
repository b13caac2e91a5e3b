"""Capturing, timing and counting on a GPU; without one, the plain calls, so that a rehearsal can run."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from _losses_table import elapsed

Call = Callable[[], object]


def capture(step: Call, device: torch.device) -> Call:
    """A replay of the step from a CUDA graph; the step itself on any other device."""
    if device.type != "cuda":
        return step
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = step()

    def replay() -> object:
        graph.replay()
        return step, kept  # the graph reads and writes their memory: it must outlive this function

    return replay


def milliseconds(work: Call, calls: int, device: torch.device) -> float:
    """Mean milliseconds of calls in a row, by the device's own clock; the CPU's where it has none."""
    if device.type != "cuda":
        before = elapsed()
        for _ in range(calls):
            work()
        return 1e3 * (elapsed() - before) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for _ in range(calls):
        work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / calls


def kernels(work: Call, device: torch.device) -> int | None:
    """Kernels that one call launches, copies and fills not counted; None where the profiler sees none."""
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    names = [event.name for event in profile.events() if str(event.device_type).endswith("CUDA")]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in names) or None


def peak_memory(work: Call, device: torch.device) -> dict[str, float]:
    """Peak of the allocator during one call, over what was allocated before it, and the time of a call."""
    work()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    extra = (torch.cuda.max_memory_allocated() - before) / 1e9
    return {"GB": extra, "ms": statistics.median(milliseconds(work, 1, device) for _ in range(3))}


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block when it lasts longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeoutError(f"no time left after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
