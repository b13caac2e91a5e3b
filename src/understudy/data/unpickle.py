"""Pickled data read without running any of its code: plain containers, text, numbers and numpy arrays."""

from __future__ import annotations

import codecs
import math
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO, Never

import numpy as np

from understudy.errors import UserError

# Booleans, numbers and text of a fixed width, and objects (whose pickles are read under the same rules).
_ELEMENT = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c8|c16|[SU]\d{1,6}|O8?)")
_DEEPEST = 100

# What Python's and numpy's readers raise on bytes that are not as they should be.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def unpickle(path: str | Path) -> Any:
    """Reads a pickle of plain data; one that asks for anything else is refused before that is touched.

    A pickle is a program that may call any function it names. This reader knows the names of sets and of
    what numpy arrays and numbers are made with (as numpy 1 and 2 and Python 2 and 3 write them), makes these
    itself from checked parts, and refuses every other name; lists, dictionaries, tuples, text, bytes and
    numbers need none. Text of Python 2 is read as Latin-1. Arrays with named fields are refused.

    Args:
        path: The file.

    Returns:
        The data; its arrays are copies that can be written to.

    Raises:
        UserError: The file cannot be read, is not a whole pickle, or asks for something else.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "truth.pkl"
        >>> _ = file.write_bytes(pickle.dumps({"imlist": ["a", "b"], "easy": np.array([1, 0])}))
        >>> unpickle(file)
        {'imlist': ['a', 'b'], 'easy': array([1, 0])}
    """
    path = Path(path)
    name = repr(str(path))
    try:
        with path.open("rb") as file:
            return _bare(_Reader(file).load(), {}, 0)
    except FileNotFoundError:
        raise UserError(f"{name} does not exist: check the path") from None
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): check the path") from error
    except _Refused as refused:
        raise UserError(
            f"{name} asks for {refused}, and a pickle that asks for more than lists, dictionaries, text, "
            "numbers and numpy arrays is not read because it could run code: get the official file again"
        ) from None
    except _BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{name} is not a pickle of plain data ({reason}): get the file again") from error


class _Refused(Exception):
    """The pickle asks for a name that plain data has no need of."""


class _Reader(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for; never what Python would import for it."""
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Never:
        """Objects outside the file are refused."""
        raise _Refused(f"an object outside the file ({pid!r})")


class _Element:
    """A numpy type while it is read; numpy's own would take its flags from the file, unchecked."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_align_and_copy: object) -> None:
        if not isinstance(code, str) or not _ELEMENT.fullmatch(code):
            raise ValueError(f"arrays of type {code!r} are not plain data")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, order, *inner = state
        if any(part is not None for part in inner[:3]):
            raise ValueError("arrays with named fields are not plain data")
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"{order!r} is no byte order")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """An array while it is read; `_bare` makes it a plain one."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_version, shape, element, by_column, content = state
        dtype = _dtype(element)
        if any(side < 0 for side in shape):
            raise ValueError(f"{shape!r} is no shape")
        if dtype.hasobject:
            if not isinstance(content, list) or len(content) != math.prod(shape):
                raise ValueError("an array of objects has too few or too many")
        else:
            content = _bytes(content)
        whole: Any = (1, shape, dtype, bool(by_column), content)
        super().__setstate__(whole)


class _Maker:
    """A function whose attributes a pickle cannot change, as it could those of Python's own functions."""

    __slots__ = ("_make",)
    _make: Any

    def __init__(self, make: Any) -> None:
        object.__setattr__(self, "_make", make)

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setattr__(self, name: str, value: object) -> Never:
        raise TypeError(f"{name} cannot be set to {value!r}")


def _reconstruct(kind: object, *_shape_and_code: object) -> _Array:
    if kind is not _ARRAY:
        raise ValueError("not an array")
    return _Array((0,), dtype=np.int8)  # the file's own shape comes with its content


def _from_buffer(buffer: Any, element: Any, shape: Any, order: Any) -> _Array:
    array = np.frombuffer(_bytes(buffer), _dtype(element)).reshape(shape, order=order)
    return array.copy(order="K").view(_Array)


def _scalar(element: Any, content: Any) -> Any:
    return np.frombuffer(_bytes(content), _dtype(element), count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"{encoding!r} is not how bytes are written")
    return codecs.encode(text, "latin-1")


def _no_bytes() -> bytes:
    return b""  # how Python 3 writes them for Python 2


def _dtype(element: Any) -> np.dtype[Any]:
    if not isinstance(element, _Element):
        raise TypeError("an array has no type")
    return element.dtype


def _bytes(content: Any) -> bytes:
    return content.encode("latin-1") if isinstance(content, str) else bytes(memoryview(content))


_ARRAY = _Maker(None)  # numpy's array class is only ever named, never called
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _Element,
    ("_codecs", "encode"): _Maker(_encode),
}
for _core in ("numpy.core", "numpy._core"):
    _KNOWN[f"{_core}.multiarray", "_reconstruct"] = _Maker(_reconstruct)
    _KNOWN[f"{_core}.multiarray", "scalar"] = _Maker(_scalar)
    _KNOWN[f"{_core}.numeric", "_frombuffer"] = _Maker(_from_buffer)
for _builtins in ("builtins", "__builtin__"):
    _KNOWN[_builtins, "bytes"] = _Maker(_no_bytes)
    _KNOWN |= {(_builtins, kind.__name__): kind for kind in (set, frozenset, list, tuple, dict)}


def _bare(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The value with plain arrays in the place of `_Array`; lists and dictionaries are changed in place."""
    if not isinstance(value, list | tuple | dict | np.ndarray | _Element | _Maker):
        return value
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Element | _Maker):
        raise ValueError("it holds types instead of data")  # noqa: TRY004
    if isinstance(value, tuple):
        bare: Any = tuple(_bare(item, done, depth + 1) for item in value)
        done[id(value)] = bare
        return bare
    bare = value.view(np.ndarray) if isinstance(value, _Array) else value
    done[id(value)] = bare
    _fill(bare, done, depth + 1)
    return bare


def _fill(holder: Any, done: dict[int, Any], depth: int) -> None:
    """Puts bare values in the place of what a list, a dictionary or an array of objects holds."""
    if isinstance(holder, dict):
        for key in holder:
            holder[key] = _bare(holder[key], done, depth)
    elif isinstance(holder, list):
        holder[:] = [_bare(item, done, depth) for item in holder]
    elif holder.dtype.hasobject:
        for place, item in enumerate(holder.flat):
            holder.flat[place] = _bare(item, done, depth)
