"""Several GPUs: images/s beside one at the same batch for each, and gradients beside one process's."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from _losses_table import Line, say
from _throughput_bare import AS_IT_IS, Bare, rates
from _throughput_loop import batches, build, from_teacher, live, on_labels, train
from _throughput_setting import PER_CLASS, Images, Setting, noise
from _throughput_sheet import Group, Work
from torch import Tensor

from understudy.config import OptimConfig
from understudy.data import Pixels
from understudy.training.loop import Loop
from understudy.training.optim import build_optimiser
from understudy.training.processes import distributed

CLOSE = 0.02


@dataclass
class Alone:
    """What one process gives by itself, before it joins the others; only the first process knows.

    Attributes:
        figures: Of the row with a live teacher.
        gradients: Of one step on the batch of all processes, in bfloat16 on a GPU, and in float32.
    """

    figures: dict[str, float] = field(default_factory=dict)
    gradients: dict[bool, Tensor] = field(default_factory=dict)


class Several:
    """The groups that several processes measure together.

    It is built before the processes join: the first of them then measures what it does alone while the
    others wait.

    Args:
        settings: Students, batches for each process, and sizes.
        teachers: Backbones.
        world: How many processes will join.
        first: Whether this is the first of them.
    """

    def __init__(
        self, settings: Sequence[Setting], teachers: Sequence[str], *, world: int, first: bool
    ) -> None:
        torch.backends.cudnn.allow_tf32 = False  # the gradients that are compared in float32 are
        self._world = world
        self._pairs = [(setting, teacher) for setting in settings for teacher in teachers]
        self._alone = [_alone(*pair, world) if first else Alone() for pair in self._pairs]

    def groups(self) -> Iterator[Group]:
        """A group for each student with each teacher."""
        for (setting, teacher), alone in zip(self._pairs, self._alone, strict=True):
            yield Group(
                f"{setting.name}, {teacher}, {self._world} processes",
                lambda setting=setting, teacher=teacher, alone=alone: self._lines(setting, teacher, alone),  # type: ignore[misc]
            )

    def _lines(self, setting: Setting, teacher: str, alone: Alone) -> list[tuple[Line, Work]]:
        what = f"{setting.name} for each: (c) from a live {teacher}"
        least = 0.9 * self._world
        return [
            (Line(f"{what}, 1 process"), lambda _: alone.figures),
            (
                Line(f"{what}, {self._world} processes", f"≥ {least:g} × one", least, at_least=True),
                lambda _: _together(setting, teacher, alone),
            ),
            (
                Line(
                    f"{what}: gradient of {self._world} processes beside one",
                    f"≤ {CLOSE} apart",
                    CLOSE,
                    note="norm of the difference by the norm; batch normalisation as in evaluation",
                ),
                lambda _: _apart(setting, teacher, alone),
            ),
        ]


def _alone(setting: Setting, teacher: str, world: int) -> Alone:
    guess = rates(Bare(setting).step(AS_IT_IS), setting.batch, setting, 1)[0]
    task = build(setting, [on_labels(), from_teacher()], live(setting, teacher))
    found, memory = train(setting, noise(setting), task, guess)
    figures = {"images/s": statistics.median(found), "GB at most": memory}
    say(f"{setting.name}, {teacher}, one process: {figures['images/s']:,.0f} images/s")
    whole = replace(setting, batch=world * setting.batch)
    return Alone(figures, {bf16: _gradient(whole, teacher, bf16=bf16) for bf16 in (True, False)})


def _together(setting: Setting, teacher: str, alone: Alone) -> dict[str, float]:
    one = distributed.broadcast_object(alone.figures)["images/s"]
    task = build(setting, [on_labels(), from_teacher()], live(setting, teacher))
    found, memory = train(setting, noise(setting), task, distributed.world() * one)
    return {
        "× one": statistics.median(found) / one,
        "images/s": statistics.median(found),
        "GB at most": memory,
    }


def _apart(setting: Setting, teacher: str, alone: Alone) -> dict[str, float]:
    found: dict[bool, float] = {}
    for bf16 in (True, False):
        mine = _gradient(setting, teacher, bf16=bf16)
        one = alone.gradients.get(bf16, mine)
        found[bf16] = float((mine - one).norm() / one.norm())
    noisy = alone.gradients.get(True), alone.gradients.get(False)
    rounding = 0.0 if noisy[0] is None or noisy[1] is None else (noisy[0] - noisy[1]).norm() / noisy[1].norm()
    return {
        "apart": found[True],
        "apart in float32": found[False],
        "of bfloat16 and float32 in one process": float(rounding),
    }


def _gradient(setting: Setting, teacher: str, *, bf16: bool) -> Tensor:
    """The gradient of the first step, all parameters in a row.

    Batch normalisation keeps its statistics: those of each process's own share are no one process's.
    """
    torch.manual_seed(0)
    task = build(setting, [on_labels(), from_teacher()], live(setting, teacher), freeze_bn=True)
    task.bf16 = bf16 and setting.cuda
    rank, world = distributed.rank(), distributed.world()
    images = _few(setting, world * setting.batch)
    loop = Loop(
        task,
        build_optimiser(task, OptimConfig()),
        batches(setting, images, rank=rank, world=world),
        steps=1,
        rate=lambda _: 0.0,
    )
    loop.run()
    return torch.cat([p.grad.flatten().float() for p in task.parameters() if p.grad is not None])


def _few(setting: Setting, total: int) -> Images:
    """The same images on every process, enough for two batches of all of them."""
    generator = torch.Generator().manual_seed(0)
    tensor = torch.randint(0, 256, (2 * total, *setting.shape), dtype=torch.uint8, generator=generator)
    return Images(
        Pixels(tensor.to(setting.device), torch.arange(2 * total)), np.arange(2 * total) // PER_CLASS
    )
