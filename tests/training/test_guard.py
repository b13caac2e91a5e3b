import pytest
import torch

from understudy.training.guard import NaNGuard, NotFinite


def test_a_part_is_named_rather_than_the_sum() -> None:
    guard = NaNGuard(torch.device("cpu"))
    with pytest.raises(NotFinite, match="the loss part 'pkt' became infinite at step 7"):
        guard.watch(7, {"loss": torch.tensor(torch.inf), "pkt": torch.tensor(torch.inf)})


def test_the_gradient_is_called_the_gradient() -> None:
    with pytest.raises(NotFinite, match="the gradient became nan at step 2"):
        NaNGuard(torch.device("cpu")).watch(2, {"gradient": torch.tensor(torch.nan)})


def test_on_other_devices_the_first_bad_step_and_part_are_latched() -> None:
    guard = NaNGuard(torch.device("cpu"))
    guard._immediate = False
    good, bad = torch.tensor(1.0), torch.tensor(torch.nan)
    for step in range(5):
        guard.watch(step, {"loss": good, "a": good, "b": bad if step == 3 else good})
        guard.watch(step, {"gradient": bad if step >= 3 else good})
    with pytest.raises(NotFinite, match="the loss part 'b' became nan or infinite at step 3"):
        guard.check()


def test_good_values_pass() -> None:
    guard = NaNGuard(torch.device("cpu"))
    guard.watch(0, {"loss": torch.tensor(1.0)})
    guard._immediate = False
    guard.watch(1, {"loss": torch.tensor(1.0)})
    guard.check()
