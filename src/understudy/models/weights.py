"""Reads network weights from a local file; nothing that could run code is ever loaded."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from understudy.errors import UserError

_WRAPPERS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_PICKLED = (".pth", ".pt", ".bin", ".tar")
_COUNTER = "num_batches_tracked"


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a ``.safetensors`` file, or of a ``.pth``/``.pt`` file of plain tensors.

    Wrappers that training scripts put around them (``state_dict``, ``model``, ``module.``) are taken off.

    Args:
        path: The file.

    Returns:
        The tensors on the processor, in the file's order.

    Raises:
        UserError: The file is missing, cut short, of another kind, or holds anything but plain tensors.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "net.pth"
        >>> torch.save({"epoch": 3, "state_dict": {"module.fc.weight": torch.zeros(2, 3)}}, file)
        >>> {name: tuple(t.shape) for name, t in read_tensors(file).items()}
        {'fc.weight': (2, 3)}
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weights file {str(path)!r}: check the path")
    if path.suffix == ".safetensors":
        found: Any = read_safetensors(path)
    elif path.suffix in _PICKLED:
        found = _read_pickled(path)
    else:
        raise UserError(f"{str(path)!r} is no weights file known here: pass a .safetensors, .pth or .pt file")
    while inner := next((found[k] for k in _WRAPPERS if isinstance(found.get(k), Mapping)), None):
        found = inner
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise UserError(f"{str(path)!r} holds no tensors: pass a file with a network's weights")
    for prefix in itertools.chain(_PREFIXES, _PREFIXES):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or one sentence saying that it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{str(path)!r} is cut short or damaged ({error}): copy or write it once more"
        ) from error


def load_weights(
    network: nn.Module, path: str | Path, *, name: str, ignore: tuple[str, ...] = (), in_order: bool = False
) -> None:
    """Loads a file into a network, complete or not at all.

    Args:
        network: The network without its classifier.
        path: The file.
        name: What to call the network in errors.
        ignore: Prefixes of the file's tensors that belong to a classifier and are left out.
        in_order: Match tensors by their order; every shape and last name (weight, running_mean, …) must
            agree. For files of the same architecture written with other names.

    Raises:
        UserError: The file cannot be read, or does not fit; the first tensors in question are named.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "net.pth"
        >>> torch.save({"weight": torch.ones(1, 4), "bias": torch.ones(1)}, file)
        >>> load_weights(nn.Linear(3, 1), file, name="a line")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: '...net.pth' does not fit a line: weight is (1, 4) in the file and (1, 3)
        in the network
    """
    tensors = read_tensors(path)
    wanted = {key: tensor for key, tensor in network.state_dict().items() if not key.endswith(_COUNTER)}
    if in_order:
        _copy(network, _match_order(tensors, wanted, str(path), name))
        return
    if not any(key.startswith("backbone.") for key in wanted):  # the file of a model saved by this package
        own = {k.removeprefix("backbone."): t for k, t in tensors.items() if k.startswith("backbone.")}
        tensors = own or tensors
    tensors = _without(tensors, ignore)
    faults = mismatches(tensors, wanted)
    convert = _timm_conversion(network)
    if faults and convert is not None:
        converted = _without(convert(tensors), ignore)
        if not mismatches(converted, wanted):
            tensors, faults = converted, []
    if faults:
        cure = ""
        if _order_fits(tensors, wanted):
            cure = "; all shapes fit in order, so weights_in_order=true loads it"
        raise UserError(f"{str(path)!r} does not fit {name}: {few(faults)}{cure}")
    _copy(network, tensors)


def mismatches(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors of a file from fitting a network, a phrase each; empty when they fit.

    Example:
        >>> mismatches({"b": torch.zeros(2)}, {"a": torch.zeros(1), "b": torch.zeros(3)})
        ['b is (2,) in the file and (3,) in the network', 'a is not in the file']
    """
    faults = [
        f"{key} is {tuple(found[key].shape)} in the file and {tuple(tensor.shape)} in the network"
        for key, tensor in wanted.items()
        if key in found and found[key].shape != tensor.shape
    ]
    faults += [f"{key} is not in the file" for key in wanted if key not in found]
    return faults + [f"{key} is not in the network" for key in found if key not in wanted]


def few(faults: list[str], most: int = 3) -> str:
    """The first faults of many.

    Example:
        >>> few(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    rest = len(faults) - most
    return ", ".join(faults[:most]) + (f" and {rest} more" if rest > 0 else "")


def _read_pickled(path: Path) -> Any:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{str(path)!r} holds more than plain tensors, or is damaged: "
            "it is not loaded, for it could run code; convert it to .safetensors where you trust it"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{str(path)!r} is cut short, damaged or no file of plain tensors: write it once more with "
            "torch.save(network.state_dict(), …) or as .safetensors"
        ) from error
    return found if isinstance(found, Mapping) else {}


def _without(tensors: Mapping[str, Tensor], ignore: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        key: tensor
        for key, tensor in tensors.items()
        if not key.endswith(_COUNTER) and not any(key.startswith(prefix) for prefix in ignore)
    }


def _match_order(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: str, name: str
) -> dict[str, Tensor]:
    found = _without(tensors, ())
    names = list(found)
    for number, (theirs, ours) in enumerate(zip(names, wanted, strict=False)):
        if not _same_part(theirs, found[theirs], ours, wanted[ours]):
            raise UserError(
                f"{path!r} does not fit {name} in order: its tensor {number}, {theirs} "
                f"{tuple(found[theirs].shape)}, stands where {ours} {tuple(wanted[ours].shape)} should"
            )
    left = [found[key] for key in names[len(wanted) :]]
    if len(names) < len(wanted) or not (len(left) == 0 or _is_classifier(left)):
        raise UserError(
            f"{path!r} does not fit {name} in order: it has {len(names)} tensors, the network {len(wanted)}"
        )
    return {ours: found[theirs] for theirs, ours in zip(names, wanted, strict=False)}


def _order_fits(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    pairs = zip(tensors.items(), wanted.items(), strict=False)
    return len(tensors) >= len(wanted) and all(_same_part(*theirs, *ours) for theirs, ours in pairs)


def _same_part(theirs: str, found: Tensor, ours: str, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and theirs.rpartition(".")[2] == ours.rpartition(".")[2]


def _is_classifier(left: list[Tensor]) -> bool:
    return len(left) == 2 and left[0].dim() in (2, 4) and left[1].shape == left[0].shape[:1]


def _timm_conversion(network: nn.Module) -> Callable[[dict[str, Tensor]], dict[str, Tensor]] | None:
    """Timm's own translation of published files (other names, position tables of another size), if any."""
    module = sys.modules[type(network).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) if module.__name__.startswith("timm.") else None
    if convert is None:
        return None

    def attempt(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        try:
            return dict(convert(dict(tensors), network))
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError, AttributeError, AssertionError):
            return {}

    return attempt


def _copy(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies tensors that are known to fit; counters of seen batches may be absent."""
    network.load_state_dict(dict(tensors), strict=False)
