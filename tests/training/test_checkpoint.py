from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

from understudy.errors import UserError
from understudy.training.directory.checkpoint import latest_checkpoint, save_checkpoint


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
