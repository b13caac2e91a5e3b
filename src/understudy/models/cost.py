"""What a model costs: parameters and multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from understudy.models.embedder import Embedder

_ATEN = torch.ops.aten
_PRODUCTS = {_ATEN.mm: 0, _ATEN.bmm: 0, _ATEN.addmm: 1, _ATEN.baddbmm: 1}  # position of the left matrix


def count_parameters(model: nn.Module) -> int:
    """The parameters that `Embedder.encode` uses: all but a classifier's; any other module's are all counted.

    Example:
        >>> count_parameters(nn.Linear(3, 4))
        16
    """
    classifier = model.classifier if isinstance(model, Embedder) else None
    left_out = 0 if classifier is None else sum(p.numel() for p in classifier.parameters())
    return sum(p.numel() for p in model.parameters()) - left_out


def count_macs(model: nn.Module, shape: tuple[int, ...] | None = None) -> int:
    """Multiply-accumulates of embedding one image.

    Counted are convolutions and matrix products (linear layers, attention). Normalisation, activations,
    pooling and the addition of biases are not, as is usual, so this is half of what PyTorch's own counter
    calls FLOPs; its counter is not used here, for it takes seconds to import.

    Args:
        model: An embedder, or any network.
        shape: (channels, height, width) of the image; an embedder knows its own.

    Returns:
        A whole number.

    Raises:
        ValueError: ``shape`` is missing for a network that is no embedder.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 10, 10))
        21600
    """
    if shape is None:
        if not isinstance(model, Embedder):
            raise ValueError("count_macs needs the input's shape for a network that is no Embedder")
        shape = (model.preprocessing.channels, *model.preprocessing.size)
    first = next(model.parameters())
    x = torch.zeros((1, *shape), dtype=first.dtype, device=first.device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    counter = _Counter()
    try:
        with torch.no_grad(), nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH), counter:
            model.embed(x) if isinstance(model, Embedder) else model(x)
    finally:
        for module, training in modes:
            module.training = training
    return counter.macs


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the multiply-accumulates of the operations below it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under this mode; PyTorch would import its compiler to make sure."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        if packet is _ATEN.convolution:
            weight: Tensor = args[1]
            self.macs += result.numel() * math.prod(weight.shape[1:])
        elif packet in _PRODUCTS:
            self.macs += result.numel() * args[_PRODUCTS[packet]].shape[-1]
        return result
