"""Keeps the outputs of chosen layers during a forward pass."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from understudy.errors import UserError, unknown

FEATURES = "features"
"""The name of the feature map that is pooled."""


class MapCapture:
    """Hooks on the named layers of a network; after a forward pass `take` gives what they returned.

    Args:
        network: The network.
        pool: What pools its last feature map, which goes by the name ``features``; an identity when the
            network pools inside.
        names: Names of its layers, as ``network.named_modules()`` has them.
        what: What to call the network in errors.

    Raises:
        UserError: There is no layer of that name.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> capture = MapCapture(net, nn.Identity(), ["0"], "net")
        >>> _ = net(torch.ones(1, 2))
        >>> capture.take()["0"].shape
        torch.Size([1, 3])
    """

    def __init__(self, network: nn.Module, pool: nn.Module, names: Sequence[str], what: str) -> None:
        known = [name for name, _ in network.named_modules() if name]
        if not isinstance(pool, nn.Identity):  # a network that pools inside has no map to show
            known.append(FEATURES)
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
                raise unknown(f"layer of {what}", name, near or [n for n, _ in network.named_children()])
        self.names = tuple(names)
        self._kept: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = [
            pool.register_forward_hook(_KeepInput(self._kept))
            if name == FEATURES
            else network.get_submodule(name).register_forward_hook(_Keep(name, self._kept))
            for name in self.names
        ]

    def take(self) -> dict[str, Tensor]:
        """The maps of the last forward pass, by name, in the order asked for; none are kept here."""
        maps = {name: self._kept[name] for name in self.names if name in self._kept}
        self._kept.clear()
        return maps

    def remove(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()


class _Keep:
    """A hook as an object, so that a copied network writes into its own copy of the store."""

    def __init__(self, name: str, kept: dict[str, Tensor]) -> None:
        self.name = name
        self.kept = kept

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise UserError(f"layer {self.name!r} gives no tensor: ask for a layer within it")
        self.kept[self.name] = output


class _KeepInput:
    """The same for what a pooling is given."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        self.kept = kept

    def __call__(self, _module: nn.Module, inputs: tuple[Tensor, ...], _output: Any) -> None:
        self.kept[FEATURES] = inputs[0]
