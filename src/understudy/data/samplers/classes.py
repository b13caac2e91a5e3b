"""P classes × K images: the batches of metric learning."""

from __future__ import annotations

import numpy as np

from understudy.data.samplers.base import Sampler, deal
from understudy.errors import UserError


class ClassBalanced(Sampler):
    """P classes with K images of each, class after class.

    The images of a class are used up before one returns; a class with fewer than K images repeats some within
    its K (views are numbered so that the copies differ). With K ≥ 2, classes of one image are left out.

    Args:
        rows: (n,) manifest rows to draw from.
        labels: Class codes of **all** manifest rows, so that ``labels[rows]`` are those of ``rows``; rows
            with a negative code are left out.
        classes_per_batch: P, different classes of a batch.
        images_per_class: K.
        replacement: True draws the P classes of every batch anew; False uses every class up before one
            returns.
        seed: The seed of all plans.
        batches: Batches in an epoch; none: as many as the images fill, at least one.

    Attributes:
        classes: (C,) codes of the classes drawn from.
        singletons: How many classes of one image were left out.

    Raises:
        UserError: K is larger than every class, P is larger than the number of classes, or no row has a
            label.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> sampler = ClassBalanced(np.arange(6), labels, 2, 2, replacement=False, seed=0)
        >>> sampler.plan(0).shape
        (1, 4)
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        classes_per_batch: int,
        images_per_class: int,
        *,
        replacement: bool,
        seed: int,
        batches: int | None = None,
    ) -> None:
        self.seed = seed
        self.classes_per_batch = classes_per_batch
        self.images_per_class = images_per_class
        self.replacement = replacement
        self.batch_size = classes_per_batch * images_per_class
        if self.batch_size < 1:
            raise UserError(
                f"a batch of {classes_per_batch} classes × {images_per_class} images is empty: "
                "make both positive"
            )
        groups = group_by_class(rows, labels)
        kept = {
            code: members for code, members in groups.items() if len(members) > 1 or images_per_class == 1
        }
        self.singletons = len(groups) - len(kept)
        _check(groups, kept, classes_per_batch, images_per_class)
        self.classes = np.array(list(kept), dtype=np.int64)
        self._members = list(kept.values())
        images = sum(map(len, self._members))
        self._batches = max(1, images // self.batch_size) if batches is None else batches

    def __len__(self) -> int:
        return self._batches

    def plan(self, epoch: int) -> np.ndarray:
        """P × K manifest rows a batch, the images of a class beside each other."""
        generator = self._generator(epoch)
        if self.replacement:
            count = len(self.classes)
            drawn = np.stack(
                [generator.choice(count, self.classes_per_batch, replace=False) for _ in range(len(self))]
            )
        else:
            drawn = deal(len(self.classes), len(self), self.classes_per_batch, generator)
        return fill_with_images(drawn, self._members, self.images_per_class, generator)


class EveryClassOnce(ClassBalanced):
    """Every class once an epoch, K images of it (Yu et al., "Learning metrics from teachers", CVPR 2019).

    The classes that do not fill a last batch are left out of that epoch (other ones every epoch), as in the
    authors' runs: 100 classes at 4 a batch are 25 batches, 98 are 24.

    Args:
        rows: As for `ClassBalanced`.
        labels: As for `ClassBalanced`.
        classes_per_batch: P, different classes of a batch.
        images_per_class: K.
        seed: The seed of all plans.

    Example:
        >>> sampler = EveryClassOnce(np.arange(6), np.array([0, 0, 1, 1, 2, 2]), 1, 2, seed=0)
        >>> sorted(sampler.plan(0).ravel().tolist())
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        classes_per_batch: int,
        images_per_class: int,
        *,
        seed: int,
    ) -> None:
        super().__init__(rows, labels, classes_per_batch, images_per_class, replacement=False, seed=seed)
        self._batches = len(self.classes) // classes_per_batch


class RandomPairs(Sampler):
    """Half a batch of classes drawn with replacement, two different images of each.

    S2SD's batches are 56 such pairs. A class may be in a batch more than once. Classes of one image are left
    out.

    Args:
        rows: As for `ClassBalanced`.
        labels: As for `ClassBalanced`.
        batch_size: Images in a batch; even.
        seed: The seed of all plans.
        batches: Batches in an epoch; none: as many as the images fill, at least one.

    Attributes:
        singletons: How many classes of one image were left out.

    Raises:
        UserError: The batch size is odd, or no class has two images.

    Example:
        >>> RandomPairs(np.arange(4), np.array([0, 0, 1, 1]), 4, seed=0).plan(0).shape
        (1, 4)
    """

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, batch_size: int, *, seed: int, batches: int | None = None
    ) -> None:
        self.seed = seed
        self.batch_size = batch_size
        check_even(batch_size)
        groups = group_by_class(rows, labels)
        self._members = [members for members in groups.values() if len(members) > 1]
        self.singletons = len(groups) - len(self._members)
        if not self._members:
            raise UserError("no class has two images, so there are no pairs: label more images of each class")
        images = sum(map(len, self._members))
        self._batches = max(1, images // batch_size) if batches is None else batches

    def __len__(self) -> int:
        return self._batches

    def plan(self, epoch: int) -> np.ndarray:
        """Pairs of manifest rows beside each other."""
        generator = self._generator(epoch)
        drawn = generator.integers(len(self._members), size=(len(self), self.batch_size // 2))
        return fill_with_images(drawn, self._members, 2, generator)


def group_by_class(rows: np.ndarray, labels: np.ndarray) -> dict[int, np.ndarray]:
    """Splits rows by class, in the order of the class codes; rows with a negative code are left out.

    Args:
        rows: (n,) manifest rows.
        labels: Class codes of all manifest rows.

    Example:
        >>> group_by_class(np.array([4, 1, 2]), np.array([0, 7, -1, 0, 7]))
        {7: array([4, 1])}
    """
    rows = np.asarray(rows, dtype=np.int64)
    codes = np.asarray(labels)[rows]
    rows, codes = rows[codes >= 0], codes[codes >= 0]
    order = np.argsort(codes, kind="stable")
    found, starts = np.unique(codes[order], return_index=True)
    return dict(zip(found.tolist(), np.split(rows[order], starts[1:]), strict=False))


def fill_with_images(
    drawn: np.ndarray, members: list[np.ndarray], each: int, generator: np.random.Generator
) -> np.ndarray:
    """Puts ``each`` images in the place of every drawn class, using a class's images up before one returns.

    Args:
        drawn: (batches, P) positions in ``members``.
        members: The rows of each class.
        each: K.
        generator: Source of the shuffles.

    Returns:
        (batches, P × each) int64 rows.
    """
    images = np.empty((*drawn.shape, each), dtype=np.int64)
    flat, target = drawn.ravel(), images.reshape(-1, each)
    order = np.argsort(flat, kind="stable")
    found, starts = np.unique(flat[order], return_index=True)
    for position, slots in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
        target[slots] = members[position][deal(len(members[position]), len(slots), each, generator)]
    return images.reshape(len(drawn), -1)


def check_even(batch_size: int) -> None:
    """Refuses a batch size that holds no whole number of pairs."""
    if batch_size < 2 or batch_size % 2:
        raise UserError(f"batch_size {batch_size} is not a whole number of pairs: make it even, at least 2")


def _check(groups: dict[int, np.ndarray], kept: dict[int, np.ndarray], classes: int, images: int) -> None:
    if not groups:
        raise UserError("no image has a label, so there are no classes to draw from: label some")
    largest = max(map(len, groups.values()))
    if images > largest:
        raise UserError(
            f"images_per_class is {images} but the largest class has {largest} image(s): "
            f"make it {largest} or smaller"
        )
    if classes > len(kept):
        alone = len(groups) - len(kept)
        without = f" (without {alone} of one image)" if alone else ""
        raise UserError(
            f"classes_per_batch is {classes} but there are {len(kept)} classes{without}: "
            f"make it {len(kept)} or smaller"
        )
