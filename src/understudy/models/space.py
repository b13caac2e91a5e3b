"""The teacher's space: what a student's embedding is mapped into when it asks a teacher's gallery."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import torch
import torch.nn.functional as F
from annotated_types import Gt
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from understudy.errors import UserError, unknown

SpaceName = Literal["own", "teacher"]

_SHORT = 0.1


class TeacherSpace(BaseModel):
    """Whose vectors a model's projection meets, saved with the model.

    Example:
        >>> TeacherSpace(dim=768, teacher="resnet50").normalize
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dim: Annotated[int, Gt(0)] = Field(description="dimension of the teacher's embeddings")
    teacher: str = Field(description="what the teacher was called")
    normalize: bool = Field(True, description="whether its embeddings are L2-normalised")


class Projection(nn.Module):
    """A linear map W from the student's embedding into the teacher's space, without bias.

    A prefix of m numbers goes through the first m columns of W, so one matrix serves every length: the
    directions of the teacher's space are learnt in the order in which prefixes take them up. The nesting is
    that of "MRL-E", the weight-tied form of Kusupati et al., "Matryoshka Representation Learning", NeurIPS
    2022, Section 3, applied to a projection instead of a classifier.

    W starts orthogonal, as the identity where both dimensions are equal; at a tenth of that where the rows
    are normalised afterwards. Its length then changes nothing, but steps of a given size, as Adam's, turn a
    short matrix faster: it follows a student that moves.

    Args:
        student_dim: d_S.
        teacher_dim: d_T.
        normalize: Divide the rows by their length afterwards, as the teacher's are.

    Example:
        >>> projection = Projection(8, 16, normalize=True)
        >>> projection(torch.randn(4, 8)).norm(dim=1).round(decimals=4).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> projection(torch.randn(4, 3)).shape
        torch.Size([4, 16])
    """

    def __init__(self, student_dim: int, teacher_dim: int, *, normalize: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(student_dim, teacher_dim, bias=False)
        if student_dim == teacher_dim:
            nn.init.eye_(self.linear.weight)
        else:
            nn.init.orthogonal_(self.linear.weight)
        if normalize:
            with torch.no_grad():
                self.linear.weight.mul_(_SHORT)
        self.normalize = normalize

    def forward(self, rows: Tensor) -> Tensor:
        """(n, m) with m ≤ d_S, to (n, d_T)."""
        projected = F.linear(rows, self.linear.weight[:, : rows.shape[1]])
        projected = projected.to(torch.promote_types(projected.dtype, torch.float32))
        return F.normalize(projected, dim=1) if self.normalize else projected


def prefix(rows: Tensor, dim: int, *, normalize: bool) -> Tensor:
    """The first numbers of every row, of length 1 again where the rows were.

    Args:
        rows: (n, d).
        dim: m, how many numbers are kept; d or more keeps the rows as they are.
        normalize: Divide what is kept by its length.

    Returns:
        (n, min(m, d)).

    Example:
        >>> prefix(torch.tensor([[3.0, 4.0, 12.0]]) / 13, 2, normalize=True)
        tensor([[0.6000, 0.8000]])
    """
    if dim >= rows.shape[1]:
        return rows
    kept = rows[:, :dim]
    return F.normalize(kept, dim=1) if normalize else kept


def check_reduction(dim: int | None, space: SpaceName, *, own: int, compatible: bool) -> None:
    """Refuses a length or a space that a model's embeddings do not have.

    Args:
        dim: The length asked for; None: the whole.
        space: The space asked for.
        own: The model's own dimension.
        compatible: Whether it has a projection into its teacher's space.

    Raises:
        UserError: With the cure.

    Example:
        >>> check_reduction(8, "teacher", own=16, compatible=False)
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: this model has no projection into its teacher's space: distil it with ...
    """
    if dim is not None and not 1 <= dim <= own:
        raise UserError(f"dim = {dim}: this model's embeddings have {own} numbers, give 1 to {own}")
    if space not in get_args(SpaceName):
        raise unknown("space", space, get_args(SpaceName))
    if space == "teacher" and not compatible:
        raise UserError(
            "this model has no projection into its teacher's space: distil it with --compatible, or take its "
            "own space"
        )


def shorter(prefixes: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """The lengths below the whole, ascending.

    Raises:
        UserError: One is longer than the embedding.

    Example:
        >>> shorter((64, 16, 128), 128)
        (16, 64)
    """
    longest = max(prefixes, default=0)
    if longest > dim:
        raise UserError(
            f"a prefix of {longest} numbers is longer than the embedding of {dim}: shorten `prefixes`, or "
            "set a larger `dim`"
        )
    return tuple(sorted(set(prefixes) - {dim}))
