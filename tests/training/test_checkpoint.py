from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from understudy.errors import UserError
from understudy.training.directory.checkpoint import latest_checkpoint, save_checkpoint
from understudy.training.ran_out import ran_out


def test_the_newest_are_kept_and_the_last_one_is_read(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, step, {"step": step, "w": torch.ones(2) * step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000010.pt", "step-00000015.pt"]
    state = latest_checkpoint(tmp_path, print)
    assert state is not None
    assert state["step"] == 15


@pytest.mark.parametrize("keep_bytes", [0, 10, 0.5, 0.99])
def test_a_truncated_checkpoint_falls_back_with_one_sentence(tmp_path: Path, keep_bytes: float) -> None:
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"step": step, "w": torch.randn(1000)}, keep=2)
    last = tmp_path / "step-00000010.pt"
    data = last.read_bytes()
    last.write_bytes(data[: int(keep_bytes * len(data)) if keep_bytes < 1 else int(keep_bytes)])
    said: list[str] = []
    state = latest_checkpoint(tmp_path, said.append)
    assert state is not None
    assert state["step"] == 5
    assert said == ["the checkpoint step-00000010.pt is damaged: going back to the one before it"]


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 5, {"w": torch.zeros(1000)}, keep=2)
    path = save_checkpoint(tmp_path, 10, {"w": torch.zeros(1000)}, keep=2)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    said: list[str] = []
    assert latest_checkpoint(tmp_path, said.append) is not None
    assert len(said) == 1


def test_a_checkpoint_without_its_beginning_falls_back(tmp_path: Path) -> None:
    """Its index then points to places before the file, which some versions of Python take for a bad call."""
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"step": step, "w": torch.randn(1000)}, keep=2)
    last = tmp_path / "step-00000010.pt"
    last.write_bytes(last.read_bytes()[3000:])
    said: list[str] = []
    state = latest_checkpoint(tmp_path, said.append)
    assert state is not None
    assert state["step"] == 5
    assert said == ["the checkpoint step-00000010.pt is damaged: going back to the one before it"]


def _fails_once(real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    errors = [error]

    def call(*given: Any, **more: Any) -> Any:
        if errors:
            raise errors.pop()
        return real(*given, **more)

    return call


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EMFILE])
def test_what_cannot_be_read_just_now_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It is neither removed nor passed over: the next start reads it."""
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    for owner, name in ((torch, "load"), (zipfile.ZipFile, "testzip"), (Path, "iterdir")):
        with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
            patch.setattr(
                owner, name, _fails_once(getattr(owner, name), OSError(number, os.strerror(number)))
            )
            latest_checkpoint(tmp_path, pytest.fail)
        place = tmp_path if name == "iterdir" else tmp_path / "step-00000010.pt"
        assert str(caught.value).startswith(f"cannot read {str(place)!r} ({os.strerror(number)}): mend that")
    state = latest_checkpoint(tmp_path, pytest.fail)
    assert state is not None
    assert state["step"] == 10


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:119] can't allocate memory: you")]
)
def test_memory_that_runs_out_damages_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for step in (5, 10):
        save_checkpoint(tmp_path, step, {"step": step}, keep=2)
    monkeypatch.setattr(torch, "load", _fails_once(torch.load, error))
    with pytest.raises(type(error)) as caught:
        latest_checkpoint(tmp_path, pytest.fail)
    assert ran_out(caught.value)  # which `execute` says in one sentence
    assert len(list(tmp_path.iterdir())) == 2


def test_no_checkpoint_is_none_and_only_broken_ones_are_an_error(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path, print) is None
    (tmp_path / "step-00000001.pt").write_bytes(b"")
    with pytest.raises(UserError, match="none of the checkpoints"):
        latest_checkpoint(tmp_path, lambda _: None)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (print, ("run!",))

    torch.save({"x": Payload()}, tmp_path / "step-00000001.pt")
    with pytest.raises(UserError, match="none of the checkpoints"):
        latest_checkpoint(tmp_path, lambda _: None)


def test_a_full_disk_is_one_sentence_and_keeps_the_checkpoints_that_are_there(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    save_checkpoint(tmp_path, 5, {"step": 5, "w": torch.zeros(1000)}, keep=1)
    with pytest.raises(UserError, match=r"no space left while writing .*step-00000010\.pt"), full_disk(2000):
        save_checkpoint(tmp_path, 10, {"step": 10, "w": torch.zeros(1000)}, keep=1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005.pt"]
    assert latest_checkpoint(tmp_path, pytest.fail) is not None
