"""The losses on a GPU: captured in CUDA graphs, beside the step of a small student, with kernels counted."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from _losses_gpu import Call, at_most, capture, kernels, milliseconds, peak_memory
from _losses_student import student_step
from _losses_table import Line, elapsed, in_short, measure, say
from torch.nn import functional as F

from understudy.losses.plackett_luce_exact import plackett_luce_kl
from understudy.losses.registry import LOSSES, build_loss

CLASSES = 32
STEP = "step of the student, captured"
FAST, MODERATE = 0.3, 1.0  # milliseconds
LIMITS = {
    "hard_darkrank, list 32": FAST,
    "relative_teacher": FAST,
    "similarity_kl": FAST,
    "rkd_distance": FAST,
    "pkt": FAST,
    "similarity_preserving": FAST,
    "rkd_angle": MODERATE,
    "relaxed_contrastive": MODERATE,
    "contextual_similarity": MODERATE,
    "soft_darkrank, exact, list 8": MODERATE,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "hard_darkrank, list 32": ("hard_darkrank", {"list_length": 32}),
    "hard_darkrank, full list": ("hard_darkrank", {}),
    "soft_darkrank, exact, list 8": ("soft_darkrank", {"list_length": 8, "method": "exact"}),
    "soft_darkrank, exact, list 4": ("soft_darkrank", {"list_length": 4, "method": "exact"}),
    "soft_darkrank, 32 draws, full list": ("soft_darkrank", {"method": "sampled"}),
    **{name: (name, {}) for name in LOSSES if name not in ("hard_darkrank", "soft_darkrank")},
    "tuple_contrastive": ("tuple_contrastive", {"negatives": 6}),  # tuples of 8 fill every batch here
}


@dataclass(frozen=True)
class Scale:
    """Sizes, and how often and how long to measure."""

    batch: int = 128
    dim: int = 512
    image: int = 224
    large: int = 1024
    subsets: int = 16
    rounds: int = 9
    replays: int = 10
    compile_until: float = 60.0  # seconds since the start; nothing is compiled later
    count_until: float = 80.0


REHEARSAL = Scale(batch=16, dim=8, image=32, large=32, subsets=6, rounds=2, replays=1, compile_until=0.0)


@dataclass
class Work:
    """One forward and backward pass, and what was measured of it."""

    line: Line
    build: Callable[[], Call]
    captured: bool = True
    replay: Call | None = None
    times: list[float] = field(default_factory=list)
    compiled: Call | None = None
    compiled_times: list[float] = field(default_factory=list)

    def prepare(self, device: torch.device) -> None:
        """Builds, warms up and captures."""
        try:
            step = self.build()
            self.replay = capture(step, device) if self.captured else step
            self.replay()
        except Exception as error:  # noqa: BLE001 (a loss that cannot be captured is an entry of the table)
            self.replay, self.line.error = None, in_short(error)
        say(f"{self.line.what}: {self.line.error or 'ready'}")

    def state(self, step: float | None) -> None:
        """Writes the times into the line, the faster form first."""
        if not self.times:
            return
        times = {"captured": statistics.median(self.times)} if self.captured else {}
        times = times or {"eager": statistics.median(self.times)}
        if self.compiled_times:
            times["compiled"] = statistics.median(self.compiled_times)
        found = {f"ms {form}": value for form, value in sorted(times.items(), key=lambda item: item[1])}
        if step is not None and not self.line.what.startswith("step"):
            found["% of the step"] = 100 * min(times.values()) / step
        self.line.figures = found | {k: v for k, v in self.line.figures.items() if k.startswith("kernels")}


def run(device: torch.device, scale: Scale, save: Callable[[list[Line]], None]) -> list[Line]:
    """All lines of the GPU's table; they are saved after each stage."""
    torch.manual_seed(0)
    works = _works(device, scale)
    lines = [work.line for work in works]
    for work in works:
        work.prepare(device)
    _time(works, scale, device)
    _state(works)
    save(lines)
    memory = _memory(device, scale)
    save([*lines, *memory])
    _compile(works, device, scale)
    _state(works)
    save([*lines, *memory])
    _count(works, device, scale)  # last, for the profiler may slow down what follows it
    for line in lines:
        say(line.as_markdown())
    return [*lines, *memory]


def _works(device: torch.device, scale: Scale) -> list[Work]:
    about = f"mobilenetv3-small, {scale.image}×{scale.image}, batch {scale.batch}, bf16, fused AdamW"
    works = [
        Work(Line(STEP, note=about), lambda: student_step(device, scale.batch, scale.image, captured=True)),
        Work(
            Line("step of the student, eager", note=about),
            lambda: student_step(device, scale.batch, scale.image, captured=False),
            captured=False,
        ),
    ]
    for title in VARIANTS:
        limit = LIMITS.get(title)
        line = Line(title, target=f"≤ {limit:g} ms" if limit else "", limit=limit)
        works.append(Work(line, lambda title=title: _loss_step(title, device, scale)))  # type: ignore[misc]
    line = Line(f"soft_darkrank, exact, list {scale.subsets}, 64 queries", target="≤ 20 ms", limit=20.0)
    works.append(Work(line, lambda: _subsets_step(64, scale.subsets, device)))
    longest = scale.subsets + 4
    line = Line(f"soft_darkrank, exact, list {longest}, 8 queries")
    return [*works, Work(line, lambda: _subsets_step(8, longest, device))]


def _loss_step(title: str, device: torch.device, scale: Scale, *, compiled: bool = False) -> Call:
    n, d = scale.batch, scale.dim
    name, args = VARIANTS[title]
    entry = LOSSES[name]
    built = build_loss(name, args, num_classes=CLASSES, dim=d, student_channels=48, teacher_channels=256)
    built = built.to(device)
    loss = torch.compile(built) if compiled else built
    if entry.inputs[0] == "maps":
        student, other = (torch.randn(n, channels, 7, 7, device=device) for channels in (48, 256))
    else:
        width = CLASSES if entry.inputs[0] == "logits" else d
        student, other = (torch.randn(n, width, device=device) for _ in range(2))
        if entry.inputs[0] == "embedding":
            student, other = F.normalize(student), F.normalize(other)
    if entry.supervised:
        other = torch.arange(n, device=device) // 4 % CLASSES
    wanted = [student.requires_grad_(), *(p for p in built.parameters() if p.requires_grad)]
    return lambda: torch.autograd.grad(loss(student, other), wanted, allow_unused=True)


def _subsets_step(queries: int, items: int, device: torch.device) -> Call:
    """The exact soft form from scores."""
    teacher, student = (-3 * torch.rand(queries, items, device=device) for _ in range(2))
    student.requires_grad_()
    return lambda: torch.autograd.grad(plackett_luce_kl(teacher, student).sum(), student)


def _time(works: list[Work], scale: Scale, device: torch.device) -> None:
    """Milliseconds a call, in interleaved rounds."""
    for index in range(scale.rounds):
        for work in works:
            if work.replay is None:
                continue
            try:
                work.times.append(milliseconds(work.replay, scale.replays, device))
            except Exception as error:  # noqa: BLE001
                work.replay, work.line.error = None, in_short(error)
        say(f"round {index + 1} of {scale.rounds}")


def _state(works: list[Work]) -> None:
    step = next((w for w in works if w.line.what == STEP and w.times), None)
    for work in works:
        work.state(statistics.median(step.times) if step else None)


def _compile(works: list[Work], device: torch.device, scale: Scale) -> None:
    """Compiles and captures the losses that have a limit, those over it first, while time is left."""
    limited = [w for w in works if w.line.what in LIMITS and w.replay is not None]
    for work in sorted(limited, key=lambda w: w.line.met is True):
        left = scale.compile_until - elapsed()
        if left <= 0:
            say(f"not compiled, no time left: {work.line.what}")
            continue
        try:
            assert work.replay is not None
            with at_most(left):
                step = _loss_step(work.line.what, device, scale, compiled=True)
                work.compiled = capture(step, device)
                work.compiled()
            for _ in range(scale.rounds):
                work.compiled_times.append(milliseconds(work.compiled, scale.replays, device))
                work.times.append(milliseconds(work.replay, scale.replays, device))
            say(f"{work.line.what}: {statistics.median(work.compiled_times):.3f} ms compiled")
        except Exception as error:  # noqa: BLE001
            work.compiled = None
            say(f"{work.line.what}: not compiled: {in_short(error)}")


def _count(works: list[Work], device: torch.device, scale: Scale) -> None:
    for work in works:
        for form, replay in (("captured", work.replay), ("compiled", work.compiled)):
            if replay is None or elapsed() > scale.count_until:
                continue
            try:
                number = kernels(replay, device)
            except Exception as error:  # noqa: BLE001
                say(f"{work.line.what}: kernels not counted: {in_short(error)}")
                continue
            if number is not None:
                work.line.figures["kernels" if form == "captured" else "kernels compiled"] = number


def _memory(device: torch.device, scale: Scale) -> list[Line]:
    """Peaks of the allocator, of eager passes."""
    if device.type != "cuda":
        return []
    large = Scale(batch=scale.large, dim=scale.dim)
    cases: list[tuple[str, Callable[[], Call], float | None]] = [
        (f"rkd_angle, batch {large.batch:,}", lambda: _loss_step("rkd_angle", device, large), 2.0),
        (
            f"hard_darkrank, full list, batch {large.batch:,}",
            lambda: _loss_step("hard_darkrank, full list", device, large),
            None,
        ),
        (
            f"soft_darkrank, exact, list {scale.subsets}, 64 queries",
            lambda: _subsets_step(64, scale.subsets, device),
            1.0,
        ),
    ]
    lines = []
    for what, build, limit in cases:
        line = Line(f"{what}: extra memory", target=f"≤ {limit:g} GB" if limit else "", limit=limit)
        line.note = "eager, peak of the allocator"
        lines.append(measure(line, lambda build=build: peak_memory(build(), device)))  # type: ignore[misc]
    return lines
