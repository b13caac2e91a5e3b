from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.losses._maps import check_maps, to_one_size


def test_the_finer_map_is_averaged_on_each_axis() -> None:
    x = torch.randn(2, 3, 8, 5, dtype=torch.float64)
    y = torch.randn(2, 1, 4, 15, dtype=torch.float64)
    pooled_x, pooled_y = to_one_size(x, y)
    # Whole ratios are plain average pooling.
    torch.testing.assert_close(pooled_x, F.avg_pool2d(x, (2, 1)))
    torch.testing.assert_close(pooled_y, F.avg_pool2d(y, (1, 3)))


def test_shares_of_cells_by_hand() -> None:
    x = torch.tensor([0.0, 3.0, 6.0]).view(1, 1, 3, 1).double()
    pooled, _ = to_one_size(x, torch.zeros(1, 1, 2, 1, dtype=torch.float64))
    # Each half covers one whole cell and half of the middle one.
    assert pooled.flatten().tolist() == pytest.approx([(0 + 1.5) / 1.5, (1.5 + 6) / 1.5])


@pytest.mark.parametrize(("cells", "groups"), [(7, 3), (14, 4), (5, 5), (9, 1), (56, 7)])
def test_averaging_keeps_means_and_constants(cells: int, groups: int) -> None:
    x = torch.randn(1, 2, cells, cells, dtype=torch.float64)
    pooled, _ = to_one_size(x, torch.zeros(1, 1, groups, groups, dtype=torch.float64))
    assert pooled.shape == (1, 2, groups, groups)
    torch.testing.assert_close(pooled.mean((2, 3)), x.mean((2, 3)))
    ones, _ = to_one_size(torch.ones(1, 1, cells, 1), torch.ones(1, 1, groups, 1))
    torch.testing.assert_close(ones, torch.ones(1, 1, groups, 1))


MAP = torch.zeros(2, 3, 4, 4)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.zeros(2, 3), MAP, r"non-empty \(rows, channels, height, width\) maps for the student"),
        (MAP, torch.zeros(2, 3, 0, 4), r"for the teacher, got shape \(2, 3, 0, 4\)"),
        (MAP, MAP.long(), "floating-point maps for the teacher, got torch.int64"),
        (MAP, torch.zeros(3, 3, 4, 4), "got 2 student maps and 3 teacher maps"),
        (MAP, MAP.to("meta"), "both maps on one device, got cpu and meta"),
    ],
)
def test_wrong_maps_are_refused(student: Tensor, teacher: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match="hint needs .*" + message):
        check_maps("hint", student, teacher)


def test_half_precision_is_raised_and_the_teacher_cut_off() -> None:
    student, teacher = check_maps("hint", MAP.bfloat16(), MAP.double().requires_grad_())
    assert student.dtype == teacher.dtype == torch.float32
    assert not teacher.requires_grad
