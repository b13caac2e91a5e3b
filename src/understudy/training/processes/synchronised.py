"""Batch normalisation over the rows of all processes."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from understudy.config import RunConfig
from understudy.errors import UserError
from understudy.training.processes import distributed

Model = TypeVar("Model", bound=nn.Module)


def synchronised(student: Model, config: RunConfig, device: torch.device) -> Model:
    """A student whose batch normalisation sees the whole batch, where the configuration asks for it.

    One process alone sees the whole batch anyway. The names of the weights stay what they are.

    Args:
        student: The model; its layers are replaced in place.
        config: The run's settings.
        device: Where the student is.

    Raises:
        UserError: It cannot be done there.
    """
    if not config.sync_bn or distributed.world() == 1:
        return student
    if device.type != "cuda":
        raise UserError(
            "sync_bn needs GPUs, one for each process: leave it out, or set student.freeze_bn, "
            "which needs no statistics of a batch"
        )
    if config.accumulate > 1:
        raise UserError(
            f"sync_bn needs whole batches and accumulate is {config.accumulate}: leave one of them out, "
            "or set student.freeze_bn instead of sync_bn"
        )
    from timm.layers import convert_sync_batchnorm  # knows layers that normalise and activate in one

    converted: Model = convert_sync_batchnorm(student)
    return converted
