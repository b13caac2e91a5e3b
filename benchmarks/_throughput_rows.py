"""The rows of the throughput table: bare steps, which are the ceiling, and the package's loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from _losses_gpu import Call, capture

from understudy.config import OptimConfig
from understudy.data import Augmentation, Pixels
from understudy.data.batches import Batch, Batches
from understudy.data.samplers import BatchStream, ClassBalanced
from understudy.losses import MultiSimilarity, SimilarityKL
from understudy.models import Embedder, build_embedder
from understudy.teachers import LiveTeacher
from understudy.teachers.cached import CachedTeacher
from understudy.training.capture import why_not
from understudy.training.loop import Loop
from understudy.training.optim import build_optimiser
from understudy.training.task import Task
from understudy.training.terms import DistillationTerm, SupervisedTerm, Term

DIM, PER_CLASS = 128, 4
AUGMENTATION = Augmentation(crop_scale=(0.3, 1.0), crop_ratio=(0.75, 1.33), flip=0.5)


@dataclass(frozen=True)
class Setting:
    """One row's networks and sizes.

    Attributes:
        student: Backbone.
        teacher: Backbone.
        batch: Images in a batch.
        size: Height and width that the networks see.
        device: Where.
    """

    student: str
    teacher: str
    batch: int
    size: tuple[int, int]
    device: torch.device

    def embedder(self, backbone: str) -> Embedder:
        height, width = self.size
        resize = (height * 8 // 7, width * 8 // 7)
        model = build_embedder({"backbone": backbone, "dim": DIM, "input_size": self.size, "resize": resize})
        model.to(self.device)
        if self.device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        return model

    @property
    def bf16(self) -> bool:
        return self.device.type == "cuda"


def resident(setting: Setting, images: int) -> tuple[Pixels, np.ndarray]:
    """Decoded noise on the device, and its labels."""
    channels = setting.embedder(setting.student).preprocessing.channels
    shape = (images, channels, setting.size[0] * 8 // 7, setting.size[1] * 8 // 7)
    tensor = torch.randint(0, 256, shape, dtype=torch.uint8, device=setting.device)
    return Pixels(tensor, torch.arange(images)), np.arange(images) // PER_CLASS


def bare(setting: Setting, *, graph: bool, with_teacher: bool) -> Call:
    """One step on a batch that lies on the device, rendered: student, and the teacher's forward pass."""
    student, loss = setting.embedder(setting.student).train(), MultiSimilarity()
    pre = student.preprocessing
    x = torch.randn(setting.batch, pre.channels, *pre.size, device=setting.device)
    labels = torch.arange(setting.batch, device=setting.device) // PER_CLASS
    teacher = setting.embedder(setting.teacher).eval().requires_grad_(requires_grad=False)
    kl = SimilarityKL()
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=1e-3, fused=True, capturable=setting.device.type == "cuda"
    )

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(setting.device.type, dtype=torch.bfloat16, enabled=setting.bf16):
            embedding = student(x)["embedding"]
            if with_teacher:
                with torch.no_grad():
                    taught = teacher.embed(x)
        value = loss(embedding.float(), labels)
        if with_teacher:
            value = value + kl(embedding.float(), taught.float())
        value.backward()
        optimiser.step()

    return capture(step, setting.device) if graph else step


def loop(setting: Setting, pixels: Pixels, labels: np.ndarray, kind: str, steps: int) -> list[float]:
    """Images/s by the package's own loop on augmented views, round by round, the first one left out.

    Args:
        setting: The networks and sizes.
        pixels: The decoded images.
        labels: Their classes.
        kind: ``supervised``, ``live`` teacher or ``kept`` answers.
        steps: Steps in a round.
    """
    terms: list[Term] = [SupervisedTerm("multi_similarity", MultiSimilarity(), "embedding", 1.0)]
    teachers = {}
    if kind != "supervised":
        terms.append(DistillationTerm("similarity_kl", SimilarityKL(), "embedding", "main", 1.0))
        live = LiveTeacher(setting.embedder(setting.teacher)).to(setting.device)
        teachers = {"main": live if kind == "live" else kept(live, pixels)}
    task = Task(setting.embedder(setting.student), terms, teachers, bf16=setting.bf16).to(setting.device)
    sampler = ClassBalanced(
        np.arange(len(labels)), labels, setting.batch // PER_CLASS, PER_CLASS, replacement=False, seed=0
    )

    def batches(_start: int) -> Iterator[Batch]:
        stream = BatchStream(sampler)
        return iter(Batches(pixels, labels, stream, augmentation=AUGMENTATION, device=setting.device))

    rates: list[float] = []
    Loop(
        task,
        build_optimiser(task, OptimConfig()),
        batches,
        steps=4 * steps,
        rate=lambda _: 1.0,
        graph=why_not(setting.device, pieces=1, task=task) is None,
        log_every=steps,
        checkpoint_every=5 * steps,
        on_log=lambda _step, _means, rate: rates.append(rate),
    ).run()
    return rates[1:]


def kept(teacher: LiveTeacher, pixels: Pixels) -> CachedTeacher:
    """A teacher whose clean answers are stored."""
    cached = CachedTeacher(teacher, Augmentation(), 0, "clean")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=pixels.tensor.device.type == "cuda"):
        cached.fill(pixels.gather, pixels.rows.to(pixels.tensor.device))
    return cached
