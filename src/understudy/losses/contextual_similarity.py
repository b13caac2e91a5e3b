"""CSD: a query embedded by the student sees the teacher's neighbours as the teacher does."""

from __future__ import annotations

from typing import ClassVar

from torch import Generator, Tensor, nn

from understudy.losses._checks import check_queries, check_relational
from understudy.losses._relations import product, require_positive, require_whole, select, unit


def contextual_similarity(
    student: Tensor,
    teacher: Tensor,
    *,
    queries: Tensor | None = None,
    gallery: Tensor | None = None,
    neighbours: int = 256,
    temperature: float = 1.0,
    teacher_temperature: float = 0.01,
) -> Tensor:
    """KL over the teacher's nearest gallery vectors, between the teacher's cosines and the student's.

    For each image take the K gallery vectors g_k of the largest cosine with its teacher vector t. With σ the
    softmax over those K:

        L = (1/n) Σ_i KL( σ(cos(t_i, g_k)/τ_T) ‖ σ(cos(s_i, g_k)/τ) )

    The student's query is compared with the *teacher's* gallery, so that the two spaces become one: this is
    for retrieval by student queries from an index that stays the teacher's.

    Source: Wu et al., "Contextual Similarity Distillation for Asymmetric Image Retrieval", CVPR 2022, as
    re-implemented by others (temperatures 1 and 0.01, K = 256 or 96; the gallery of the batch instead of the
    training set). With unequal temperatures the loss is not zero where the student equals the teacher.
    Normalises: yes. Labels: none. Dimensions: equal. Teacher: outputs, and a gallery of its vectors.
    Relations: with the gallery only.

    Args:
        student: (n, d) embeddings.
        teacher: (n, d) embeddings of the same images.
        queries: Rows that ask; None for all.
        gallery: (m, d) teacher vectors, for example of all training images; None for the batch's own, in
            which each image is its own nearest neighbour.
        neighbours: K, at least 2; the whole gallery when it is smaller.
        temperature: τ of the student.
        teacher_temperature: τ_T.

    Raises:
        ValueError: On wrong shapes, unequal dimensions, fewer than 2 candidates, or settings out of range.

    Example:
        >>> import torch
        >>> teacher = torch.eye(2)
        >>> contextual_similarity(teacher, teacher, temperature=0.5, teacher_temperature=0.5)
        tensor(0.)
        >>> contextual_similarity(teacher.flip(0), teacher, temperature=1.0, teacher_temperature=1.0)
        tensor(0.4621)
    """
    _check_settings(neighbours, temperature, teacher_temperature)
    minimum = 2 if gallery is None else 1
    student, teacher = check_relational(
        "contextual_similarity", student, teacher, minimum=minimum, equal_dims=True
    )
    check_queries("contextual_similarity", queries, student)
    if gallery is None:
        gallery = teacher
    _check_gallery(gallery, student)
    units = unit(gallery.detach().to(student.dtype))
    wanted, nearest = product(unit(select(teacher, queries)), units).topk(min(neighbours, units.shape[0]))
    offered = product(unit(select(student, queries)), units).gather(1, nearest)
    q = (offered / temperature).log_softmax(1)
    p = (wanted / teacher_temperature).log_softmax(1)
    return (p.exp() * (p - q)).sum(1).mean()


def _check_settings(neighbours: int, temperature: float, teacher_temperature: float) -> None:
    # A list of one has the probability 1 whatever the student says.
    require_whole("contextual_similarity", minimum=2, neighbours=neighbours)
    require_positive(
        "contextual_similarity", temperature=temperature, teacher_temperature=teacher_temperature
    )


def _check_gallery(gallery: Tensor, student: Tensor) -> None:
    if gallery.ndim != 2 or gallery.shape[0] < 2 or gallery.shape[1] != student.shape[1]:
        raise ValueError(
            f"contextual_similarity needs a gallery of at least 2 rows and dimension {student.shape[1]}, got "
            f"shape {tuple(gallery.shape)}"
        )
    if gallery.device != student.device or not gallery.is_floating_point():
        raise ValueError(
            f"contextual_similarity needs a floating-point gallery on {student.device}, got {gallery.dtype} "
            f"on {gallery.device}"
        )


class ContextualSimilarity(nn.Module):
    """The module of :func:`contextual_similarity`.

    Args:
        neighbours: K, how many of the teacher's nearest gallery vectors make the list.
        temperature: τ of the student.
        teacher_temperature: τ_T of the teacher.

    Example:
        >>> import torch
        >>> loss = ContextualSimilarity(neighbours=2, teacher_temperature=1.0)
        >>> loss(torch.eye(3), torch.eye(3), gallery=torch.eye(3))
        tensor(0.)
    """

    inputs: ClassVar[tuple[str, ...]] = ("embedding", "gallery")
    capturable: ClassVar[bool] = True
    random: ClassVar[bool] = False
    splits_by_query: ClassVar[bool] = True

    def __init__(
        self, neighbours: int = 256, temperature: float = 1.0, teacher_temperature: float = 0.01
    ) -> None:
        super().__init__()
        _check_settings(neighbours, temperature, teacher_temperature)
        self.neighbours = neighbours
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature

    def forward(
        self,
        student: Tensor,
        teacher: Tensor,
        queries: Tensor | None = None,
        generator: Generator | None = None,
        gallery: Tensor | None = None,
    ) -> Tensor:
        """See :func:`contextual_similarity`.

        Args:
            student: (n, d) embeddings.
            teacher: (n, d) embeddings; no gradient flows into them.
            queries: Row numbers that ask, or None for all.
            generator: Not used; nothing here is random.
            gallery: (m, d) teacher vectors, or None for the batch's own.
        """
        del generator
        return contextual_similarity(
            student,
            teacher,
            queries=queries,
            gallery=gallery,
            neighbours=self.neighbours,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
        )

    def extra_repr(self) -> str:
        """The settings."""
        return (
            f"neighbours={self.neighbours}, temperature={self.temperature}, "
            f"teacher_temperature={self.teacher_temperature}"
        )
