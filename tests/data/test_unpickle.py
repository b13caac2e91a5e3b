from __future__ import annotations

import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from understudy.data.unpickle import unpickle
from understudy.errors import UserError

PLAIN: dict[str, Any] = {
    "list": [1, -2.5, "ä", b"\xff", b"", None, True, 10**30],
    "sets": ({1, 2}, frozenset(["a"])),
    "nested": {"deep": [{"tuple": (1, (2, 3))}]},
}
ARRAYS = {
    "integers": np.arange(6).reshape(2, 3),
    "by column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "text": np.array(["ab", "ç"]),
    "bytes": np.array([b"ab", b"c"]),
    "booleans": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float16),
    "one": np.array(5),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    shared = np.arange(2)
    mixed = np.array([shared, "s", None], dtype=object)
    value = {**PLAIN, **ARRAYS, "mixed": mixed, "number": np.float32(1.5), "twice": [shared, shared]}
    read = unpickle(write(tmp_path / "a.pkl", pickle.dumps(value, protocol)))
    assert {key: read[key] for key in PLAIN} == PLAIN
    for key, array in ARRAYS.items():
        assert type(read[key]) is np.ndarray
        assert read[key].dtype.kind == array.dtype.kind
        np.testing.assert_array_equal(read[key], array, strict=key != "big-endian")
        assert read[key].flags.writeable
    assert type(read["mixed"][0]) is np.ndarray
    assert read["mixed"][1:].tolist() == ["s", None]
    assert read["number"] == np.float32(1.5)
    assert isinstance(read["number"], np.float32)
    assert read["twice"][0] is read["twice"][1]
    assert type(read["twice"][0]) is np.ndarray


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_arrays_of_numpy_1_and_2(tmp_path: Path, core: bytes) -> None:
    """Protocol 2 names modules in lines of text, so that one name can stand in for the other."""
    written = re.sub(rb"numpy\._?core", core, pickle.dumps([np.arange(3), np.float64(0.5)], 2))
    assert core + b".multiarray" in written
    array, number = unpickle(write(tmp_path / "a.pkl", written))
    assert array.tolist() == [0, 1, 2]
    assert number == 0.5


def test_a_pickle_of_python_2(tmp_path: Path) -> None:
    """``{'é': array([1, 256], '<i4')}`` as Python 2 writes it: text and array content as 8-bit strings."""
    content = (
        b"\x80\x02}U\x01\xe9cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x08\x01\x00\x00\x00\x00\x01\x00\x00tbs."
    )
    read = unpickle(write(tmp_path / "a.pkl", content))
    assert list(read) == ["é"]
    assert read["é"].dtype == np.int32
    assert read["é"].tolist() == [1, 256]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        pytest.param(Call(os.system, "touch {marker}"), f"{os.system.__module__}.system", id="system"),
        pytest.param(Call(eval, "open({marker!r}, 'w')"), "__builtin__.eval", id="eval"),
        pytest.param(Call(getattr, {}, "update"), "__builtin__.getattr", id="getattr"),
        pytest.param(Call(np.fromfile, "/etc/hostname"), "fromfile", id="numpy's own functions"),
        pytest.param({"gnd": [{"bbx": Path("a")}]}, "pathlib", id="another class, deep inside"),
        pytest.param(np.ma.masked_array([1]), "numpy.ma", id="another array class"),
        pytest.param(bytearray(b"abc"), "__builtin__.bytearray", id="bytearray"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path: Path, value: Any, named: str) -> None:
    marker = tmp_path / "marker"
    if isinstance(value, Call):
        value.call = (value.call[0], tuple(_filled(arg, marker) for arg in value.call[1]))
    file = write(tmp_path / "a.pkl", pickle.dumps(value, 2))
    with pytest.raises(UserError, match=rf"a\.pkl' asks for .*{re.escape(named)}.*could run code: get"):
        unpickle(file)
    assert not marker.exists()


def _filled(arg: Any, marker: Path) -> Any:
    return arg.format(marker=str(marker)) if isinstance(arg, str) else arg


def _array(code: bytes, state: bytes, content: bytes, shape: bytes = b"K\x01\x85") -> bytes:
    """A protocol 2 array whose type and content need not fit each other."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    element = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R" + state + b"b"
    return b"\x80\x02" + array + b"(K\x01" + shape + element + b"\x89" + content + b"tb."


PLAIN_STATE = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
ADDRESS = b"U\x08" + struct.pack("<Q", 0xDEADBEEF)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_array(b"O8", PLAIN_STATE, ADDRESS), id="bytes as addresses of objects"),
        pytest.param(_array(b"O8", PLAIN_STATE, b"]"), id="fewer objects than places"),
        pytest.param(_array(b"i8", PLAIN_STATE, ADDRESS, b"K\x02\x85"), id="fewer bytes than places"),
        pytest.param(_array(b"i8", PLAIN_STATE, ADDRESS, b"J\xff\xff\xff\xff\x85"), id="a negative shape"),
        pytest.param(
            _array(b"O8", PLAIN_STATE, b"]K\x01a", b"J\xff\xff\xff\xffJ\xff\xff\xff\xff\x86"), id="two"
        ),
        pytest.param(_array(b"V8", PLAIN_STATE, ADDRESS), id="raw memory"),
        pytest.param(_array(b"i8", b"(K\x03U\x01|N(U\x01at}NJ\x00\x00\x00\x00K\x00t", ADDRESS), id="fields"),
        pytest.param(b"\x80\x02c__builtin__\nset\n}U\x01aK\x01sb.", id="attributes of a class"),
        pytest.param(
            b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x05_makeNs\x86b.",
            id="attributes of a function",
        ),
        pytest.param(b"\x80\x02cnumpy\nndarray\n.", id="a bare class"),
        pytest.param(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".", id="nested without end"),
        pytest.param(pickle.dumps(list(range(99)))[:-20], id="cut off"),
        pytest.param(b"not a pickle", id="text"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_not_as_it_should_be_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(
        UserError, match=r"a\.pkl' is not a pickle of plain data \([^\n]+\): get the file again$"
    ):
        unpickle(write(tmp_path / "a.pkl", content))


def test_objects_outside_the_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks for an object outside the file"):
        unpickle(write(tmp_path / "a.pkl", b"Pkey\n."))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.pkl' does not exist: check the path"):
        unpickle(tmp_path / "a.pkl")
    with pytest.raises(UserError, match="cannot be read"):
        unpickle(tmp_path)


def test_lists_that_hold_themselves(tmp_path: Path) -> None:
    circle: list[Any] = [np.arange(2)]
    circle.append(circle)
    read = unpickle(write(tmp_path / "a.pkl", pickle.dumps(circle)))
    assert read[1] is read
    assert type(read[0]) is np.ndarray
