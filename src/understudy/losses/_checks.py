"""What every loss asks of its inputs, each said in one sentence when it is not so."""

from __future__ import annotations

import torch
from torch import Tensor

from understudy.losses._distances import at_least_float32


def check_relational(
    name: str, student: Tensor, teacher: Tensor, *, minimum: int = 2, equal_dims: bool = False
) -> tuple[Tensor, Tensor]:
    """Checks the two embeddings of a batch and brings them to a common precision.

    Args:
        name: The loss's name, for the message.
        student: (n, dS) floating-point tensor.
        teacher: (n, dT) floating-point tensor on the same device.
        minimum: The fewest rows that the loss is defined on.
        equal_dims: Whether dS must equal dT.

    Returns:
        The student, at least float32, and the teacher in the student's type and cut off from its graph.

    Raises:
        ValueError: On a wrong shape, type, device or number of rows.

    Example:
        >>> check_relational("pkt", torch.zeros(1, 8), torch.zeros(1, 16))
        Traceback (most recent call last):
        ...
        ValueError: pkt needs a batch of at least 2 rows, got 1
    """
    for side, x in (("student", student), ("teacher", teacher)):
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"{name} needs a (rows, dim) matrix for the {side}, got shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"{name} needs a floating-point {side}, got {x.dtype}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"{name} needs one teacher row for each student row, got {student.shape[0]} student rows "
            f"and {teacher.shape[0]} teacher rows"
        )
    if student.device != teacher.device:
        raise ValueError(
            f"{name} needs both embeddings on one device, got {student.device} and {teacher.device}"
        )
    if equal_dims and student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"{name} needs student and teacher of equal dimension, got {student.shape[1]} and "
            f"{teacher.shape[1]}: put a projection on the student"
        )
    if student.shape[0] < minimum:
        plural = "s" if minimum > 1 else ""
        raise ValueError(f"{name} needs a batch of at least {minimum} row{plural}, got {student.shape[0]}")
    student = at_least_float32(student)
    return student, teacher.detach().to(student.dtype)


def check_queries(name: str, queries: Tensor | None, student: Tensor) -> None:
    """Checks that ``queries`` are row numbers; that they lie in range is the caller's promise.

    Raises:
        ValueError: When they are not a non-empty vector of int64 on the embedding's device.
    """
    if queries is None:
        return
    if queries.ndim != 1 or queries.dtype != torch.int64 or queries.numel() == 0:
        raise ValueError(
            f"{name} needs queries as a non-empty int64 vector of row numbers, got {queries.dtype} "
            f"of shape {tuple(queries.shape)}"
        )
    if queries.device != student.device:
        raise ValueError(
            f"{name} needs queries on {student.device}, where the embeddings are, got {queries.device}"
        )


def check_supervised(name: str, embedding: Tensor, labels: Tensor) -> Tensor:
    """Checks the embedding (or logits) of a batch and its labels, and raises half precision to float32.

    Args:
        name: The loss's name, for the message.
        embedding: (n, d) floating-point tensor.
        labels: (n,) int64 class numbers on the same device; negative means unlabelled.

    Returns:
        The embedding, at least float32.

    Raises:
        ValueError: On a wrong shape, type or device.
    """
    if embedding.ndim != 2 or embedding.shape[0] == 0 or embedding.shape[1] == 0:
        raise ValueError(f"{name} needs a non-empty (rows, dim) matrix, got shape {tuple(embedding.shape)}")
    if not embedding.is_floating_point():
        raise ValueError(f"{name} needs a floating-point matrix, got {embedding.dtype}")
    if labels.shape != embedding.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"{name} needs one int64 label for each of {embedding.shape[0]} rows, got {labels.dtype} "
            f"of shape {tuple(labels.shape)}"
        )
    if labels.device != embedding.device:
        raise ValueError(f"{name} needs labels on {embedding.device}, got {labels.device}")
    return at_least_float32(embedding)
