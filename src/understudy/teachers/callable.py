"""Any function of images as a teacher: ``python:module:factory?key=value``."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from understudy.data.preprocessing import Preprocessing
from understudy.errors import UserError
from understudy.teachers.asked import AskedTeacher
from understudy.teachers.failing import told

_SIDE = 224


class CallableTeacher(AskedTeacher):
    """A function that is given images and gives one vector for each.

    What it is given depends on an attribute of the function, if it has one:

    * ``preprocessing`` (a `Preprocessing`, or its settings as a mapping): a tensor (n, channels, H, W)
      float32 on the run's device, resized and normalised in that way;
    * otherwise a list of n PIL images in RGB, of ``input_size`` (height, width), 224 × 224 unless it says so.

    Further attributes that are looked at: ``name``; ``dim``, without which it is asked about one grey image;
    ``classes``, the names of its classes; ``normalised``, whether its vectors have length 1; ``to(device)``.
    A ``torch.nn.Module`` is frozen and put into evaluation mode.

    Args:
        function: It gives an array (n, d), or a mapping with ``embedding`` and, with classes, ``logits``.
        name: What to call it; its own ``name``, else that of its class or function.

    Example:
        >>> from understudy.data.items import Items
        >>> teacher = CallableTeacher(lambda images: [[image.size[0], image.size[1]] for image in images])
        >>> items = Items(torch.tensor([0]), torch.zeros(1, 3, 40, 40, dtype=torch.uint8))
        >>> teacher.embed(items).tolist(), teacher.queries
        ([[224.0, 224.0]], 1)
    """

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        own = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        name = name or str(own)
        self.function = function
        self._pictures = getattr(function, "preprocessing", None) is None
        if isinstance(function, nn.Module):
            function.requires_grad_(requires_grad=False).eval()
        super().__init__(
            name,
            _preprocessing(function, name),
            dim=getattr(function, "dim", None),
            classes=getattr(function, "classes", None),
            normalised=getattr(function, "normalised", None),
        )

    def answer(self, shown: Tensor) -> Mapping[str, Any]:
        """What the function gives."""
        try:
            given = self.function(_pictures(shown) if self._pictures else shown)
        except SystemExit as error:  # it would end the command, and say nothing
            raise UserError(
                f"the teacher {self.name!r} ended the process instead of answering ({told(error)}): let it "
                "raise an exception"
            ) from error
        return given if isinstance(given, Mapping) else {"embedding": given}

    def to(self, device: torch.device | str) -> Self:
        """Moves the function if it can be moved."""
        move = getattr(self.function, "to", None)
        if callable(move):
            move(device)
        return super().to(device)


def open_callable(place: str, settings: Mapping[str, str]) -> CallableTeacher:
    """Calls a factory of the user's own, which gives the function.

    Args:
        place: ``module:factory`` or ``path/to/file.py:factory``. This runs the user's own code.
        settings: Passed to the factory; each is read as YAML reads a word: numbers, true, false, text.

    Raises:
        UserError: There is no such module or factory, the factory cannot be called so, or either fails.

    Example:
        >>> open_callable("operator:itemgetter", {"nothing": "1"})
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: teacher 'python:operator:itemgetter' could not be made (TypeError:
        ...): its factory takes other settings
    """
    where = f"teacher 'python:{place}'"
    module_name, _, factory_name = place.rpartition(":")
    if not module_name or not factory_name:
        raise UserError(f"{where} names no factory: write python:module:factory")
    file = Path(module_name) if module_name.endswith(".py") else None
    with _importable(Path.cwd() if file is None else file.resolve().parent):
        module = _module(module_name, where) if file is None else _module_in(file, where)
        factory = getattr(module, factory_name, None)
        if not callable(factory):
            raise UserError(f"{where}: {module_name!r} has no function {factory_name!r}: check its name")
        function = _made(factory, {key: yaml.safe_load(value) for key, value in settings.items()}, where)
    if not callable(function):
        raise UserError(
            f"{where} gave a {type(function).__name__}: a factory must give a function of images, or an "
            "object that can be called"
        )
    return CallableTeacher(function, name=getattr(function, "name", None) or factory_name)


def _made(factory: Callable[..., Any], settings: Mapping[str, Any], where: str) -> Any:
    """What the factory gives."""
    try:
        return factory(**settings)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        called = error.__traceback__ is None or error.__traceback__.tb_next is None  # not from within it
        if isinstance(error, TypeError) and called:
            raise UserError(
                f"{where} could not be made (TypeError: {error}): its factory takes other settings"
            ) from error
        raise UserError(f"{where} could not be made, its factory failed ({told(error)}): mend it") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets modules be imported from a folder, also those that the module and its factory import."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # it may have been taken out there
            sys.path.remove(str(folder))


def _module(name: str, where: str) -> Any:
    """A module by its name."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        if missing:
            raise UserError(
                f"{where}: the module {name!r} cannot be imported ({error}): check its name, or write "
                "python:path/to/file.py:factory"
            ) from error
        raise UserError(
            f"{where}: the module {name!r} cannot be imported ({told(error)}): mend it"
        ) from error


def _module_in(path: Path, where: str) -> Any:
    """The module in a file, under a name of its own: a file may be called as an installed module is."""
    name = f"_teacher_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"{where}: there is no file {str(path)!r}: check its place")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, among others, look their module up there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        del sys.modules[name]
        raise UserError(f"{where}: {str(path)!r} cannot be imported ({told(error)}): mend it") from error
    return module


def _preprocessing(function: Callable[..., Any], name: str) -> Preprocessing:
    said = getattr(function, "preprocessing", None)
    if isinstance(said, Preprocessing):
        return said
    try:
        if said is not None:
            return Preprocessing.model_validate(said)
        size = getattr(function, "input_size", None) or (_SIDE, _SIDE)
        return Preprocessing(size=size, resize=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"the teacher {name!r} says something about its images that does not fit "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}): see understudy.data.Preprocessing"
        ) from error


def _pictures(shown: Tensor) -> list[Image.Image]:
    """Values from 0 to 1 as PIL images."""
    levels = shown.mul(255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(np.ascontiguousarray(image)) for image in levels]
