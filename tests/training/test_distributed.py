"""Several processes on gloo give the gradient of one process on the whole batch."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from understudy.config import RunConfig, parse
from understudy.data.batches import Batch
from understudy.data.items import Items
from understudy.losses import LOSSES, build_loss
from understudy.models import Projection, build_embedder
from understudy.teachers import LiveTeacher
from understudy.training.caching import cached_backward
from understudy.training.objective.build_terms import build_terms
from understudy.training.objective.draws import Draws
from understudy.training.objective.prefixes import Prefixes
from understudy.training.objective.step import Step
from understudy.training.objective.terms import DistillationTerm, SupervisedTerm, Term
from understudy.training.processes import distributed
from understudy.training.processes.gathering import gather, mean_gradients, sizes
from understudy.training.task import Task

COUNTS = {1: [14], 2: [8, 6], 3: [6, 5, 3]}
DIM, TEACHER_DIM, CLASSES = 6, 9, 4


def in_processes(world: int, work: Callable[[int, int, Path], None], folder: Path) -> None:
    """Runs ``work(rank, world, folder)`` in processes that share a gloo group.

    They are forked from a process that has imported the package and done nothing else: the seconds that
    imports take are spent once.
    """
    multiprocessing.set_forkserver_preload([__name__, "understudy.training.run"])
    mp.start_processes(  # type: ignore[attr-defined, no-untyped-call]
        _start, args=(world, work, folder), nprocs=world, start_method="forkserver"
    )


def _start(rank: int, world: int, work: Callable[[int, int, Path], None], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    try:
        work(rank, world, folder)
    finally:
        dist.destroy_process_group()


def terms() -> dict[str, Term]:
    """One term for every registered loss that runs on embeddings, and one of another library that draws."""
    built: dict[str, Term] = {}
    for name, entry in LOSSES.items():
        torch.manual_seed(3)
        if entry.inputs[0] == "embedding" and not entry.supervised:
            loss = build_loss(name, {})
            relational = not entry.per_row
            built[name] = DistillationTerm(name, loss, "embedding", "main", 1.0, relational=relational)
        elif entry.supervised and entry.inputs == ("embedding", "labels"):
            loss = build_loss(name, {}, num_classes=CLASSES, dim=DIM)
            built[name] = SupervisedTerm(name, loss, "embedding", 1.0)
    torch.manual_seed(3)
    name, args = "pml:TripletMarginLoss", {"triplets_per_anchor": 1}  # drawn by the library
    built[name] = SupervisedTerm(name, build_loss(name, args), "embedding", 1.0)
    return built | nested_terms()


def nested_terms() -> dict[str, Term]:
    """Terms at two lengths of the embedding, those on coordinates through a projection."""
    built: dict[str, Term] = {}
    for name in ("relative_teacher", "absolute_teacher", "contextual_similarity", "proxy_anchor"):
        torch.manual_seed(3)
        entry, prefixes = LOSSES[name], Prefixes((4,), (1.0, 3.0))
        if entry.supervised:
            loss, nested = (build_loss(name, {}, num_classes=CLASSES, dim=dim) for dim in (DIM, 4))
            term: Term = SupervisedTerm(name, loss, "embedding", 1.0, prefixes=prefixes, nested=[nested])
        else:
            term = DistillationTerm(
                name,
                build_loss(name, {}),
                "embedding",
                "main",
                1.0,
                relational=not entry.per_row,
                projection=Projection(DIM, DIM, normalize=True) if entry.equal_dims else None,
                prefixes=prefixes,
            )
        built[f"{name} at two lengths"] = term
    return built


def batch(equal_dims: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = sum(COUNTS[1])
    student = torch.nn.functional.normalize(torch.randn(rows, DIM, generator=generator), dim=1)
    dim = DIM if equal_dims else TEACHER_DIM
    teacher = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)
    return student, teacher, torch.arange(rows) % CLASSES


def value_and_gradient(term: Term, rank: int, world: int) -> tuple[Tensor, Tensor, Tensor]:
    """What data-parallel training would make of the loss: averages over the processes.

    The value, the gradient of the rows and that of the term's own parameters.
    """
    student, teacher, labels = batch(term.name in LOSSES and LOSSES[term.name].equal_dims)
    start = sum(COUNTS[world][:rank])
    mine = slice(start, start + COUNTS[world][rank])
    leaf = student[mine].clone().requires_grad_()
    step = Step(5, {"embedding": leaf}, {"main": {"embedding": teacher[mine]}}, labels[mine], Draws(1))
    value = term(step)
    value.backward()
    assert leaf.grad is not None
    own = [p.grad.flatten() for p in term.parameters() if p.grad is not None]
    return value.detach(), leaf.grad / world, torch.cat([torch.zeros(1), *own])


def _every_loss(rank: int, world: int, folder: Path) -> None:
    results: dict[str, Any] = {}
    built = terms()
    torch.manual_seed(rank)  # as in a run: what losses draw must not come from there
    for name, term in built.items():
        results[name] = value_and_gradient(term, rank, world)
    torch.save(results, folder / f"{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_every_loss_gives_the_gradient_of_one_process(world: int, tmp_path: Path) -> None:
    in_processes(world, _every_loss, tmp_path)
    pieces = [torch.load(tmp_path / f"{rank}.pt") for rank in range(world)]
    checked = 0
    for name, term in terms().items():
        value, gradient, own = value_and_gradient(term, 0, 1)
        together = torch.cat([piece[name][1] for piece in pieces])
        mean_own = torch.stack([piece[name][2] for piece in pieces]).mean(0)
        assert torch.allclose(mean_own, own, atol=1e-5, rtol=1e-4), name
        mean_value = torch.stack([piece[name][0] for piece in pieces]).mean()
        assert torch.allclose(together, gradient, atol=1e-5, rtol=1e-5), name
        assert torch.allclose(mean_value, value, atol=1e-5, rtol=1e-5), name
        checked += 1
    assert checked > 15


def _scale(rank: int, world: int, folder: Path) -> None:
    local = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    whole = gather(local)
    torch.autograd.backward((whole * torch.arange(1.0, len(whole) + 1)[:, None]).sum())
    torch.save((whole.detach(), local.grad), folder / f"{rank}.pt")


@pytest.mark.parametrize("world", [2, 3])
def test_gather_keeps_rank_order_and_sums_backward(world: int, tmp_path: Path) -> None:
    in_processes(world, _scale, tmp_path)
    rows = [rank for rank in range(world) for _ in range(rank + 1)]
    expected = torch.tensor(rows, dtype=torch.float32)[:, None].expand(-1, 2)
    weights = torch.arange(1.0, len(rows) + 1)[:, None].expand(-1, 2) * world
    start = 0
    for rank in range(world):
        whole, gradient = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(whole, expected)
        torch.testing.assert_close(gradient, weights[start : start + rank + 1])
        start += rank + 1


def _mean_gradients(rank: int, world: int, folder: Path) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    parameters[0].grad = torch.full((3,), float(rank))
    mean_gradients(parameters)
    torch.save([p.grad for p in parameters], folder / f"{rank}.pt")


def test_gradients_are_averaged_and_missing_ones_count_as_zero(tmp_path: Path) -> None:
    in_processes(2, _mean_gradients, tmp_path)
    for rank in range(2):
        first, second = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(first, torch.full((3,), 0.5))
        torch.testing.assert_close(second, torch.zeros(2, 2))


def _whole_task() -> Task:
    """Every kind of term at once: labels, relations, rows, a projection, a classifier and random draws."""
    torch.manual_seed(0)
    size = {"input_size": (16, 16), "freeze_bn": True}
    student = build_embedder({"backbone": "smallconv_8", "dim": DIM, **size})
    teacher = LiveTeacher(build_embedder({"backbone": "smallconv_8", "dim": TEACHER_DIM, **size}))
    losses = [
        {"name": "hard_darkrank"},
        {"name": "absolute_teacher"},
        {"name": "soft_darkrank", "args": {"method": "sampled", "num_samples": 4}},
    ]
    config = parse(
        RunConfig,
        {"supervised": ["multi_similarity", "cross_entropy"], "losses": losses, "teachers": "t"},
        where="test",
    )
    classes = tuple("abcd")
    built, classifier = build_terms(config, config.supervised, student, {"main": teacher}, classes)
    return Task(student, built, {"main": teacher}, classifier=classifier, seed=4)


def _images(rows: slice) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (14, 1, 16, 16), generator=generator, dtype=torch.uint8)
    labels = torch.arange(14) % CLASSES
    return Batch(Items(torch.arange(14)[rows], images[rows]), labels[rows], step=3)


def _task_gradients(rank: int, world: int, folder: Path, pieces: int = 1) -> None:
    task = _whole_task().train()
    start = sum(COUNTS[world][:rank])
    batch = _images(slice(start, start + COUNTS[world][rank]))
    if pieces > 1:
        cached_backward(task, batch, pieces)
    else:
        task(batch)["loss"].backward()
    mean_gradients(list(task.parameters()))
    torch.save([p.grad for p in task.parameters()], folder / f"{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize(("world", "pieces"), [(2, 1), (3, 1), (2, 3)])
def test_a_whole_task_gets_the_gradient_of_one_process(world: int, pieces: int, tmp_path: Path) -> None:
    in_processes(world, functools.partial(_task_gradients, pieces=pieces), tmp_path)
    _task_gradients(0, 1, tmp_path / "..")
    alone = torch.load(tmp_path / ".." / "0.pt")
    for rank in range(world):
        together = torch.load(tmp_path / f"{rank}.pt")
        assert len(together) == len(alone)
        for ours, expected in zip(together, alone, strict=True):
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-4)


def test_one_process_gathers_nothing() -> None:
    x = torch.ones(2, 2, requires_grad=True)
    assert gather(x) is x
    assert (distributed.world(), distributed.rank()) == (1, 0)
    assert sizes(4, x.device) == (4,)
