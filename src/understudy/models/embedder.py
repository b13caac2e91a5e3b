"""The embedding model: backbone, pooling, head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.data.items import Items
from understudy.errors import UserError
from understudy.models._maps import MapCapture
from understudy.models.backbones import Backbone, build_backbone
from understudy.models.config import EmbedderConfig, parse_config
from understudy.models.encoding import Images, encode
from understudy.models.outputs import Outputs
from understudy.models.space import (
    Projection,
    SpaceName,
    TeacherSpace,
    check_reduction,
    prefix,
    shorter,
)

if TYPE_CHECKING:
    import numpy as np


class Embedder(nn.Module):
    """Images in, vectors out.

    ``forward`` takes rendered images (n, channels, H, W) as `prepare` makes them and holds no branch on data,
    so that ``torch.export`` with a dynamic batch works; `encode` takes files, pictures and arrays.

    The head is one linear layer with bias, drawn as PyTorch's own (uniform within ±1/√F of F features, which
    is what S2SD's code uses); with ``config.dim = None`` there is none and ``raw`` is ``pooled``. With
    ``config.neck = "bn"`` batch normalisation follows, so that ``raw``, what a classifier sees and what is
    normalised are centred and scaled (BNNeck of Luo et al., "Bag of Tricks and a Strong Baseline for Deep
    Person Re-identification", CVPRW 2019; there the triplet loss sees the features before it). Embeddings are
    normalised in float32 at least.

    Attributes:
        config: What was built.
        preprocessing: What the input looks like; saved with the model.
        backbone, pool, head: The parts.
        classifier: A linear layer from ``raw`` to logits, or None.
        classes: Names of the classifier's classes, or None.
        dim: Dimension of the embedding.
        prefixes: The shorter lengths at which the embedding was trained to rank, ascending.
        space: The teacher's space, or None.
        projection: The map from the embedding into the teacher's space, or None.
        pooled_dim: Dimension of the backbone's pooled features.

    Args:
        config: What to build.
        backbone: The built backbone.
        classes: Names of the classes of a classifier; None for a model without one.
        space: The teacher's space that a projection leads into; None for a model without one.

    Raises:
        UserError: A prefix is longer than the embedding.

    Example:
        >>> model = build_embedder({"backbone": "smallconv_8", "dim": 32})
        >>> outputs = model(torch.zeros(2, 1, 40, 40))
        >>> {name: tuple(t.shape) for name, t in outputs.items()}
        {'embedding': (2, 32), 'raw': (2, 32), 'pooled': (2, 16)}
    """

    def __init__(
        self,
        config: EmbedderConfig,
        backbone: Backbone,
        *,
        classes: Sequence[str] | None = None,
        space: TeacherSpace | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.preprocessing = backbone.preprocessing
        self.pooled_dim = backbone.dim
        self.dim = config.dim or backbone.dim
        self.prefixes = shorter(config.prefixes, self.dim)
        self.backbone = backbone.network
        self.pool = backbone.pool
        self._pooled = backbone.pooled
        self.head = _head(config, backbone.dim)
        self.classes = None if classes is None else tuple(classes)
        self.classifier = None if self.classes is None else nn.Linear(self.dim, len(self.classes))
        self.space = space
        self.projection = None
        if space is not None:
            self.projection = Projection(self.dim, space.dim, normalize=space.normalize)
        self._capture: MapCapture | None = None
        if config.freeze_bn == "all":
            for norm in self._batch_norms():
                norm.requires_grad_(requires_grad=False)
        self.train()

    def forward(self, x: Tensor) -> Outputs:
        """Rendered images (n, channels, H, W) to named tensors, see `Outputs`."""
        pooled = self._pooled(self.backbone, self.pool, x)
        raw = self.head(pooled)
        outputs: Outputs = {"embedding": self._finish(raw), "raw": raw, "pooled": pooled}
        if self.projection is not None:
            outputs["projected"] = self.projection(outputs["embedding"])
        if self.classifier is not None:
            outputs["logits"] = self.classifier(raw)
        if self._capture is not None:
            outputs["maps"] = self._capture.take()
        return outputs

    def embed(self, x: Tensor) -> Tensor:
        """Rendered images (n, channels, H, W) to embeddings (n, dim), without anything else."""
        embedding = self._finish(self.head(self._pooled(self.backbone, self.pool, x)))
        if self._capture is not None:
            self._capture.take()
        return embedding

    def reduce(self, embedding: Tensor, dim: int | None = None, space: SpaceName = "own") -> Tensor:
        """Embeddings (n, self.dim), as `embed` gives them, brought to what is compared.

        Args:
            embedding: The embeddings.
            dim: Keep the first ``dim`` numbers, normalised again if the model normalises.
            space: ``teacher`` maps what is kept into the teacher's space.

        Returns:
            (n, dim), or (n, space.dim) in the teacher's space.

        Raises:
            UserError: ``dim`` is not between 1 and the model's own, or the model has no teacher's space.
        """
        check_reduction(dim, space, own=self.dim, compatible=self.projection is not None)
        if dim is not None:
            embedding = prefix(embedding, dim, normalize=self.config.normalize)
        return embedding if space == "own" or self.projection is None else self.projection(embedding)

    def prepare(self, items: Items) -> Tensor:
        """Renders items at this model's own size and normalisation, on their device.

        Returns:
            (n, channels, H, W) float32.

        Raises:
            UserError: The items are no images.
        """
        if not isinstance(items.content, Tensor):
            raise UserError(f"{self.config.backbone!r} embeds images: the items given are texts")
        return items.rendered(self.preprocessing)

    def encode(
        self,
        images: Images,
        *,
        batch_size: int = 64,
        dim: int | None = None,
        space: SpaceName = "own",
        progress: bool | Callable[[int, int | None], None] = False,
        device: torch.device | str | None = None,
    ) -> np.ndarray:
        """Embeds images of any size, in order, with the preprocessing saved with the model.

        Files are read by a few threads, at most two batches ahead. The model works in evaluation mode and is
        left as it was.

        Args:
            images: One image or any number of them: paths, PIL images, or uint8 arrays (H, W), (H, W, 1),
                (H, W, 3) or (H, W, 4). An array of four dimensions is a stack of images.
            batch_size: Images embedded at once.
            dim: Keep the first ``dim`` numbers of every vector, normalised again if the model normalises.
            space: ``teacher`` for vectors in the teacher's space, to ask a gallery that the teacher embedded;
                only of a model distilled with ``compatible``. A prefix is mapped there from its own length.
            progress: True for a bar, or a function called with (done, total); total is None for a generator.
            device: Where to compute; the model is moved there and back. Its own device unless given.

        Returns:
            (n, dim) float32, L2-normalised unless the model's configuration says otherwise; (1, dim) for one
            image, (0, dim) for none. In the teacher's space the dimension is the teacher's.

        Raises:
            UserError: An image cannot be read, ``dim`` is larger than the model's, or there is no teacher's
                space.

        Example:
            >>> import numpy as np
            >>> model = build_embedder({"backbone": "smallconv_8", "dim": 32})
            >>> model.encode([np.zeros((50, 30, 3), np.uint8), np.ones((9, 9), np.uint8)], dim=16).shape
            (2, 16)
        """
        return encode(
            self, images, batch_size=batch_size, dim=dim, space=space, progress=progress, device=device
        )

    def request_maps(self, names: Sequence[str]) -> None:
        """Asks for the outputs of layers of the backbone, given as ``outputs["maps"]`` from now on.

        Args:
            names: Names as ``model.backbone.named_modules()`` has them, or ``features`` for the map that is
                pooled, always (n, C, H, W); none to stop. The others come as the layer gives them,
                (n, C, H, W) in most networks and (n, H, W, C) in those with channels last.

        Raises:
            UserError: There is no such layer.
        """
        capture = MapCapture(self.backbone, self.pool, names, repr(self.config.backbone)) if names else None
        if self._capture is not None:
            self._capture.remove()
        self._capture = capture

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; batch normalisation stays in evaluation mode when the model freezes it."""
        super().train(mode)
        if self.config.freeze_bn:
            for norm in self._batch_norms():
                norm.eval()
        return self

    def _finish(self, raw: Tensor) -> Tensor:
        embedding = raw.to(torch.promote_types(raw.dtype, torch.float32))
        return F.normalize(embedding, dim=1) if self.config.normalize else embedding

    def _batch_norms(self) -> list[nn.Module]:
        return [module for module in self.backbone.modules() if isinstance(module, _BatchNorm)]


def _head(config: EmbedderConfig, pooled_dim: int) -> nn.Module:
    linear = nn.Identity() if config.dim is None else nn.Linear(pooled_dim, config.dim)
    if config.neck is None:
        return linear
    return nn.Sequential(linear, nn.BatchNorm1d(config.dim or pooled_dim))


def build_embedder(
    config: EmbedderConfig | Mapping[str, Any] | str,
    *,
    classes: Sequence[str] | None = None,
    space: TeacherSpace | None = None,
) -> Embedder:
    """Builds a model, in training mode.

    Args:
        config: Its configuration, the same as a mapping, or the name of a backbone alone.
        classes: Names of the classes of a classifier on ``raw``; None for a model without one.
        space: The teacher's space that a projection leads into; None for a model without one.

    Returns:
        The model, with random weights but for a file that ``config.weights`` names.

    Raises:
        UserError: A setting or backbone does not exist, the weights do not fit, or a prefix is too long.

    Example:
        >>> build_embedder("smallconv_8").dim
        16
        >>> build_embedder("smalconv_8")
        Traceback (most recent call last):
        ...
        understudy.errors.UserError: there is no backbone named 'smalconv_8': did you mean 'smallconv_8'?
    """
    if isinstance(config, str):
        config = EmbedderConfig(backbone=config)
    elif not isinstance(config, EmbedderConfig):
        config = parse_config(config)
    return Embedder(config, build_backbone(config), classes=classes, space=space)
