"""Embeddings of the sizes and the class structure of known data sets: clustered random vectors."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Sizes(NamedTuple):
    """How large everything is.

    Attributes:
        classes: Classes of the products' test set.
        images: Its images.
        dim: Its dimensions.
        gallery: The large gallery's rows, of 128 dimensions.
        queries: What is looked for in it.
        identities: Of the re-identification test set.
        reid: Its queries, gallery images of these identities, distractors.
        some: How many of the products are queries where all would take minutes on a CPU.
    """

    classes: int = 11_316
    images: int = 60_502
    dim: int = 512
    gallery: int = 1_000_000
    queries: int = 10_000
    identities: int = 750
    reid: tuple[int, int, int] = (3_368, 13_115, 2_798)
    some: int = 4_096


SMALL = Sizes(500, 2_700, 64, 20_000, 300, 40, (180, 700, 150), 512)


class Reid(NamedTuple):
    """A re-identification test set.

    Attributes:
        query: (n, d) float32.
        gallery: (m, d) float32.
        query_ids: (n,) int64.
        gallery_ids: (m,) int64; 0 for distractors.
        query_cameras: (n,) int64.
        gallery_cameras: (m,) int64.
        about: Where it comes from.
    """

    query: np.ndarray
    gallery: np.ndarray
    query_ids: np.ndarray
    gallery_ids: np.ndarray
    query_cameras: np.ndarray
    gallery_cameras: np.ndarray
    about: str


def clustered(labels: Tensor, dim: int, noise: float, seed: int) -> Tensor:
    """Unit vectors around one random centre a class, the centres around one of twelve."""
    generator = torch.Generator().manual_seed(seed)
    classes = int(labels.max()) + 1
    groups = torch.randn(12, dim, generator=generator)[torch.arange(classes) % 12]
    centres = 0.7 * groups + torch.randn(classes, dim, generator=generator)
    return F.normalize(centres[labels] + noise * torch.randn(len(labels), dim, generator=generator))


def products(sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Points and labels as Stanford Online Products has them: classes of 2 to 12 images."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(2, 9, (sizes.classes,), generator=generator)
    while missing := sizes.images - int(counts.sum()):
        some = torch.randperm(sizes.classes, generator=generator)[: abs(missing)]
        counts[some] = (counts[some] + (1 if missing > 0 else -1)).clamp(2, 12)
    labels = torch.arange(sizes.classes).repeat_interleave(counts)
    labels = labels[torch.randperm(sizes.images, generator=generator)]
    return clustered(labels, sizes.dim, 2.5, 1), labels


def collapsed(points: Tensor) -> Tensor:
    """The same with all vectors in a narrow cone, as of a model that is hardly trained."""
    return F.normalize(points + 6 * points[0])


def reid(sizes: Sizes, features: Path | None) -> Reid:
    """The test set of a file, or a random one of Market-1501's size."""
    if features is not None:
        names = ("query", "gallery", "query_ids", "gallery_ids", "query_cameras", "gallery_cameras")
        with np.load(features, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
        query, gallery = (array.astype(np.float32) for array in arrays[:2])
        qi, gi, qc, gc = (array.astype(np.int64) for array in arrays[2:])
        kept = gi >= 0  # junk takes no part
        return Reid(query, gallery[kept], qi, gi[kept], qc, gc[kept], "features of a file")
    queries, images, distractors = sizes.reid
    generator = np.random.default_rng(0)
    qi, gi = (generator.integers(1, sizes.identities + 1, rows) for rows in (queries, images))
    gi = np.concatenate([gi, np.zeros(distractors, np.int64)])
    qc, gc = generator.integers(1, 7, len(qi)), generator.integers(1, 7, len(gi))
    clusters = np.where(gi > 0, gi, sizes.identities + np.arange(len(gi)) % (2 * sizes.identities))
    points = clustered(torch.from_numpy(np.concatenate([qi, clusters])), sizes.dim, 4.0, 2).numpy()
    return Reid(points[: len(qi)], points[len(qi) :], qi, gi, qc, gc, "clustered random vectors")
