"""Optimisers over a task's parameters: no weight decay where it does harm, a rate of their own for losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from understudy.config import OptimConfig, ScheduleConfig
from understudy.training.schedule import warmup_cosine, warmup_step
from understudy.training.task import Task

_BY_DEVICE = {"capturable", "fused", "foreach"}


def build_optimiser(task: Task, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimiser of a task.

    Biases, normalisation layers and other vectors get no weight decay; the losses' own parameters (proxies,
    margins, heads) may have their own learning rate.

    Args:
        task: The task whose trainable parameters are taken.
        config: The optimiser's settings.

    Returns:
        AdamW, or SGD with momentum; fused where the device has it.
    """
    groups = []
    own = config.lr if config.loss_lr is None else config.loss_lr
    for module, rate in ((task.student, config.lr), (task.classifier, config.lr), (task.terms, own)):
        if module is None:
            continue
        matrices, vectors = _by_shape(module)
        groups += [
            {"params": matrices, "base_lr": rate, "weight_decay": config.weight_decay},
            {"params": vectors, "base_lr": rate, "weight_decay": 0.0},
        ]
    groups = [{**group, "lr": group["base_lr"]} for group in groups if group["params"]]
    device = next(task.parameters()).device
    if device.type == "cuda":  # rates on the device, so that a captured graph sees them change
        groups = [{**group, "lr": torch.tensor(group["base_lr"], device=device)} for group in groups]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, fused=True, capturable=device.type == "cuda"
    )


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group's learning rate to its base times ``factor``."""
    for group in optimiser.param_groups:
        rate = group["base_lr"] * factor
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Goes back to a state that was saved, on whatever device that was.

    How an optimiser computes belongs to the device that it was built for: a rate that became a number, as it
    is on a CPU, would stay in a recorded step what it was when that was recorded.
    """
    built = [dict(group) for group in optimiser.param_groups]
    saved = [
        {**group, **{key: own[key] for key in _BY_DEVICE & own.keys()}}
        for group, own in zip(state["param_groups"], built, strict=True)
    ]
    optimiser.load_state_dict({**state, "param_groups": saved})
    for group, own in zip(optimiser.param_groups, built, strict=True):
        rate = float(group["lr"])
        group["lr"] = own["lr"].fill_(rate) if isinstance(own["lr"], Tensor) else rate


def rate_factor(config: ScheduleConfig, step: int, steps: int) -> float:
    """The factor on the base learning rate at a step."""
    warmup = round(config.warmup * steps)
    if config.name == "cosine":
        return warmup_cosine(step, steps=steps, warmup=warmup, floor=config.floor)
    milestones = config.milestones if config.name == "step" else ()
    return warmup_step(step, steps=steps, warmup=warmup, milestones=milestones, gamma=config.gamma)


def _by_shape(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    trainable = [p for p in module.parameters() if p.requires_grad]
    return [p for p in trainable if p.ndim > 1], [p for p in trainable if p.ndim <= 1]
