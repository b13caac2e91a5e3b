"""Puts a run together: the plan, the images, what the teachers answer, and the batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from understudy.config import RunConfig
from understudy.data.batches import Batch, Batches
from understudy.data.samplers import BatchStream, Sampler, Tuples
from understudy.evaluation import Describing, Report
from understudy.losses import LSoftmax
from understudy.models.embedder import Embedder
from understudy.teachers.joining import shared_views
from understudy.training.compatible import hang_galleries
from understudy.training.defaults import augmentation_for
from understudy.training.degraded import student_sees
from understudy.training.device import uses_bf16
from understudy.training.directory.resuming import fingerprint
from understudy.training.guard import NotFinite
from understudy.training.measuring import measure
from understudy.training.neighbourhoods import (
    learn_neighbourhoods,
    neighbouring,
    teacher_of_neighbourhoods,
)
from understudy.training.objective.terms import DistillationTerm, MapsTerm
from understudy.training.plan import draw_up
from understudy.training.processes import distributed
from understudy.training.processes.together import embed_together
from understudy.training.progress import Reporter
from understudy.training.task import Task
from understudy.training.teaching.asking import views_of
from understudy.training.teaching.looking_up import looked_up
from understudy.training.teaching.questions import Questions
from understudy.training.teaching.scope import scope_of
from understudy.training.workshop import Workshop


@dataclass
class Parts:
    """What a run is made of.

    Attributes:
        task: Student, teachers and losses.
        batches: Gives the batches from a step on.
        sampler: Plans them; its state belongs into the checkpoints.
        steps: Steps in the whole run.
        batch_size: Images in a (global) batch.
        images: Training images.
        mark: What a checkpoint remembers of the images, see `understudy.training.directory.resuming`.
        evaluate: Measures a model on a split.
        classes: Names of the training classes, in the order of their codes.
        final_split: The split of the final figures.
        questions: The account of what teachers are asked.
    """

    task: Task
    batches: Callable[[int], Iterator[Batch]]
    sampler: Sampler
    steps: int
    batch_size: int
    images: int
    mark: dict[str, Any]
    evaluate: Callable[[Embedder, str], Report]
    classes: tuple[str, ...]
    final_split: str
    questions: Questions

    def beside(self) -> list[nn.Module]:
        """What is trained beside the student: the terms' own parts and the classifier."""
        classifier = self.task.classifier
        return [self.task.terms] if classifier is None else [self.task.terms, classifier]

    def keep_classifier(self, student: Embedder) -> None:
        """Hands over what tells the classes apart to a model that may become a teacher of logits itself."""
        classifier = self.task.classifier
        for module in self.task.terms.modules():
            if classifier is None and isinstance(module, LSoftmax):
                classifier = _without_bias(module.weight)
        if classifier is not None:
            student.classifier = classifier
            student.classes = self.classes


def assemble(
    config: RunConfig,
    workshop: Workshop,
    reporter: Reporter,
    *,
    out: Path | None = None,
    claim: Callable[[], None] = lambda: None,
) -> Parts:
    """Builds everything a run needs.

    Args:
        config: What to do.
        workshop: Opens what runs share.
        reporter: Shown the progress of decoding and of the teachers' answers.
        out: The run directory, in which answers are kept that took a question each; None: in memory.
        claim: Called before something is written there.

    Raises:
        UserError: Something in the configuration cannot be done with these images.
    """
    plan = draw_up(config, workshop)
    device = plan.device
    looking = {name: t for name, t in plan.teachers.items() if config.teachers[name].view != "clean"}
    chosen, seed = shared_views(looking, config.augment, config.view_seed, plan.manifest, plan.rows)
    augmentation, seed = chosen or augmentation_for(config.data.source), config.seed if seed is None else seed
    views = views_of(config, plan.teachers, augmentation)
    judges = [
        workshop.judge(teacher, config.data, device)
        for teacher in config.teachers.values()
        if teacher.clean is not None
    ]
    looks = [getattr(t, "preprocessing", None) for t in (*plan.teachers.values(), *judges)]
    readers = [plan.student.preprocessing, *(pre for pre in looks if pre is not None)]
    pixels = workshop.pixels(config.data, readers, plan.splits, device, reporter)
    if config.data.skip_unreadable:
        plan = draw_up(config, workshop, readable=pixels.rows.cpu().numpy())

    scope = scope_of(config, plan.teachers, workshop.dataset(config.data), out and out / "answers", claim)
    workshop.begin(scope)
    sampler = plan.sampler
    if sampler.batch_size != config.sampler.batch_size:
        reporter.say(
            f"batches hold {sampler.batch_size} images instead of {config.sampler.batch_size}: "
            "there are no more to fill them"
        )
    rows = torch.from_numpy(plan.rows).to(device)
    asked = {term.teacher for term in plan.terms if isinstance(term, DistillationTerm)}
    asked -= {term.teacher for term in plan.terms if isinstance(term, MapsTerm)}  # maps are too large to keep
    teachers = {
        name: workshop.remembering(
            config.teachers[name], augmentation, seed, views[name], pixels, rows, reporter
        )
        if name in asked
        else teacher
        for name, teacher in plan.teachers.items()
    }
    stored = looked_up({name: teachers[name] for name in teachers.keys() & asked}, views)
    hang_galleries(
        plan.terms,
        rows,
        config.seed,
        lambda name, some: workshop.clean_embeddings(
            config.teachers[name], config.data, pixels, some, config.evaluation.batch_size
        ),
    )
    if neighbouring(sampler):
        near = config.teachers[teacher_of_neighbourhoods(config)]
        learn_neighbourhoods(
            sampler,
            lambda rows: workshop.clean_embeddings(
                near, config.data, pixels, rows, config.evaluation.batch_size
            ),
        )
    task = Task(
        plan.student,
        plan.terms,
        teachers,
        views=views,
        classifier=plan.classifier,
        seed=config.seed,
        sees=student_sees(config),
        bf16=uses_bf16(config.precision, device),
    ).to(device)
    if device.type == "cuda":  # several times as fast there for networks of small or grouped convolutions
        task.to(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True  # batches are of one size

    def embed(rows: np.ndarray) -> torch.Tensor:
        looking = Describing(sees=student_sees(config))
        size = config.evaluation.batch_size
        return _finite(embed_together(plan.student, pixels, rows, batch_size=size, describing=looking))

    def before_epoch(epoch: int) -> None:
        if isinstance(sampler, Tuples):
            sampler.refresh(epoch, embed)
            sampler.load_state_dict(distributed.broadcast_object(sampler.state_dict()))

    def batches(start: int) -> Iterator[Batch]:
        stream = BatchStream(
            sampler, rank=distributed.rank(), world=distributed.world(), before_epoch=before_epoch
        )
        epoch, index = divmod(start, len(sampler))
        stream.load_state_dict({"epoch": epoch, "index": index})
        return iter(
            Batches(
                pixels,
                plan.labels,
                stream,
                augmentation=augmentation,
                seed=seed,
                device=device,
                stored=stored,
            )
        )

    def evaluate(model: Embedder, split: str) -> Report:
        return measure(model, config, pixels, split, workshop)

    steps = config.steps or max(1, round(config.epochs * len(sampler)))
    return Parts(
        task,
        batches,
        sampler,
        steps,
        sampler.batch_size,
        len(plan.rows),
        fingerprint(plan.manifest, plan.splits, pixels.rows.cpu().numpy()),
        evaluate,
        plan.classes,
        plan.final_split,
        scope.questions,
    )


def _finite(vectors: torch.Tensor) -> torch.Tensor:
    """What negatives are told apart by; the guard looks at its interval, perhaps after this."""
    if not vectors.isfinite().all():
        raise NotFinite("the student's embeddings became NaN or infinite before an epoch began")
    return vectors


def _without_bias(weight: torch.Tensor) -> nn.Linear:
    """A classifier whose logits are those of class weights alone."""
    classes, dim = weight.shape
    linear = nn.Linear(dim, classes, device=weight.device)
    with torch.no_grad():
        linear.weight.copy_(weight)
        nn.init.zeros_(linear.bias)
    return linear
