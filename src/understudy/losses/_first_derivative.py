"""Backward passes that keep a finished gradient, and say so where it is to be differentiated again."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.autograd.function import once_differentiable


def first_derivative_only(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Refuses ``create_graph=True``, under which a stored gradient would pass for a constant.

    PyTorch's ``once_differentiable`` notices only where the gradient that arrives requires one itself, which
    that of a mean does not: the second derivative would be wrong and nobody told.

    Args:
        name: What the sentence calls the function.

    Raises:
        RuntimeError: By the backward pass, when a graph of it is asked for.

    Example:
        >>> from understudy.losses import plackett_luce_log_likelihood
        >>> scores = torch.zeros(1, 3, requires_grad=True)
        >>> torch.autograd.grad(plackett_luce_log_likelihood(scores).mean(), scores, create_graph=True)
        Traceback (most recent call last):
        ...
        RuntimeError: the Plackett–Luce likelihood has no second derivative here: leave create_graph out
    """

    def decorate(backward: Callable[..., Any]) -> Callable[..., Any]:
        once: Callable[..., Any] = once_differentiable(backward)

        @wraps(backward)
        def refusing(ctx: Any, *gradients: Any) -> Any:
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                raise RuntimeError(f"{name} has no second derivative here: leave create_graph out")
            return once(ctx, *gradients)

        return refusing

    return decorate
