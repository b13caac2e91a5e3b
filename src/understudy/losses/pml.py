"""Any loss and miner of pytorch-metric-learning, by name: ``pml:AngularLoss``."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from understudy.losses._building import accepted_arguments, construct, unknown
from understudy.losses._checks import check_supervised

PREFIX = "pml:"

# Which argument of a class takes the number of classes or the dimension, when the user does not say.
_FROM_CONTEXT = {
    "num_classes": "num_classes",
    "embedding_size": "embedding_size",
    "descriptors_dim": "embedding_size",
}
# Which room of the library an argument given as {name, args} is looked up in.
_ROOMS = {
    "loss": "losses",
    "miner": "miners",
    "distance": "distances",
    "reducer": "reducers",
    "embedding_regularizer": "regularizers",
    "weight_regularizer": "regularizers",
}
# Classes that a batch of embeddings and labels cannot serve.
_UNSUITABLE = {
    "DynamicSoftMarginLoss": "it keeps the graph of the step before",
    "ManifoldLoss": "it takes no labels",
    "MultipleLosses": "list the losses one by one instead",
    "SelfSupervisedLoss": "it needs a second view of each image instead of labels",
    "VICRegLoss": "it needs a second view of each image instead of labels",
}
_ABSTRACT = ("Base", "Generic")
# Classes whose value is a mean over the rows that have another of their class: NaN where no row has.
_OF_PAIRS = ("NCALoss",)


class PmlLoss(nn.Module):
    """A loss of pytorch-metric-learning on the labelled rows of a batch.

    Distances are the library's: most of its losses normalise. A loss with parameters (proxies, class weights)
    is a module with parameters, to be trained with the student.

    Rows with a negative label are dropped by boolean indexing, whose shapes depend on values: unlike the
    losses of this package, these cannot be captured in a CUDA graph.

    What the library draws at random, it draws from torch's global generators; with a ``generator`` these are
    seeded from it for the call and put back after it.

    Args:
        name: What the user called it, for messages.
        loss: The library's loss.
        miner: The library's miner, which chooses the pairs or triplets; None for all.

    Attributes:
        filled: (memories, 2) int64, the ``queue_idx`` and ``has_been_filled`` of each of the loss's memories:
            the library keeps the rows of a memory in its state and forgets how many of them there are.

    Example:
        >>> from pytorch_metric_learning import losses
        >>> loss = PmlLoss("pml:ContrastiveLoss", losses.ContrastiveLoss())
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> loss(x, torch.tensor([0, 0, -1]))  # one pair, ‖x − y‖ = √2; the third row is unlabelled
        tensor(1.4142)
    """

    inputs: ClassVar[tuple[str, ...]] = ("embedding", "labels")
    capturable: ClassVar[bool] = False
    random: ClassVar[bool] = True
    filled: Tensor

    def __init__(self, name: str, loss: nn.Module, miner: nn.Module | None = None) -> None:
        super().__init__()
        self.name = name
        self.loss = loss
        self.miner = miner
        if self._memories():  # a loss without any keeps the state that it has had in older checkpoints
            self.register_buffer("filled", torch.zeros(len(self._memories()), 2, dtype=torch.int64))
            self.register_load_state_dict_pre_hook(_complete)  # type: ignore[no-untyped-call]
            self.register_load_state_dict_post_hook(_recall)  # type: ignore[no-untyped-call]

    def forward(self, embedding: Tensor, labels: Tensor, generator: Generator | None = None) -> Tensor:
        """The loss of the labelled rows; zero, with a graph, without any.

        Args:
            embedding: (n, d), raised to float32 at least.
            labels: (n,) int64; negative means unlabelled.
            generator: The source of randomness; None for torch's global generators.
        """
        embedding = check_supervised(self.name, embedding, labels)
        labelled = labels >= 0
        rows, classes = embedding[labelled], labels[labelled]
        of_pairs = type(self.loss).__name__ in _OF_PAIRS
        if not len(rows) or (of_pairs and classes.bincount().max() == 1):
            return embedding.sum() * 0
        with torch.autocast(embedding.device.type, enabled=False), _seeded(generator, rows.device):
            mined = (self.miner(rows, classes),) if self.miner is not None else ()
            value: Tensor = self.loss(rows, classes, *mined)
        for place, memory in enumerate(self._memories()):
            self.filled[place] = self.filled.new_tensor([memory.queue_idx, memory.has_been_filled])
        # Some losses answer a batch without pairs with a number that has no graph.
        return value.sum() + rows.sum() * 0

    def _memories(self) -> list[Any]:
        """The modules that keep rows of the batches before."""
        return [module for module in self.modules() if hasattr(module, "queue_idx")]


def _complete(loss: PmlLoss, state: dict[str, Any], prefix: str, *_: object) -> None:
    """A checkpoint from before this was kept goes on as it did then, with memories that count as empty."""
    state.setdefault(f"{prefix}filled", torch.zeros_like(loss.filled))


def _recall(loss: PmlLoss, _: object) -> None:
    """Tells the memories how full they are, once their rows are loaded."""
    for memory, (index, full) in zip(loss._memories(), loss.filled.tolist(), strict=True):  # noqa: SLF001
        memory.queue_idx, memory.has_been_filled = index, bool(full)


@contextlib.contextmanager
def _seeded(generator: Generator | None, device: torch.device) -> Iterator[None]:
    """Lets torch's global generators, of the processor and of the device, draw what a generator says."""
    if generator is None:
        yield
        return
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device).item()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield


def unsuitable() -> dict[str, str]:
    """The losses of the library that :func:`build_pml` refuses, by name, and why.

    Example:
        >>> unsuitable()["pml:ManifoldLoss"]
        'it takes no labels'
    """
    return {PREFIX + name: why for name, why in sorted(_UNSUITABLE.items())}


def pml_names() -> list[str]:
    """The names that :func:`build_pml` knows.

    Example:
        >>> [name for name in pml_names() if "Angular" in name]
        ['pml:AngularLoss']
    """
    return [PREFIX + name for name in sorted(_classes("losses")) if name not in _UNSUITABLE]


def build_pml(
    name: str, args: Mapping[str, Any], *, num_classes: int | None = None, embedding_size: int | None = None
) -> PmlLoss:
    """Builds a loss of pytorch-metric-learning.

    Args:
        name: ``pml:`` and the name of a class.
        args: Its settings. ``miner``, ``distance``, ``reducer``, ``embedding_regularizer``,
            ``weight_regularizer`` and ``loss`` (of :class:`CrossBatchMemory`) are written as a name or as
            ``{name: …, args: {…}}``.
        num_classes: Given to a class that requires it.
        embedding_size: Likewise.

    Raises:
        LookupError: No such loss, or miner.
        TypeError: A setting that does not exist or is missing.

    Example:
        >>> loss = build_pml("pml:TripletMarginLoss", {"margin": 0.1, "miner": "BatchHardMiner"})
        >>> type(loss.loss).__name__, loss.loss.margin, type(loss.miner).__name__
        ('TripletMarginLoss', 0.1, 'BatchHardMiner')
    """
    context = {"num_classes": num_classes, "embedding_size": embedding_size}
    cls = _loss_class(name.removeprefix(PREFIX))
    settings = dict(args)
    miner = None
    if "miner" in settings and "miner" not in accepted_arguments(cls):
        miner = _part("miner", settings.pop("miner"), context)
    return PmlLoss(name, _construct(f"the loss {name!r}", cls, settings, context), miner)


def _construct(what: str, cls: type, args: Mapping[str, Any], context: Mapping[str, int | None]) -> Any:
    settings = {
        key: _part(key, value, context) if key in _ROOMS and isinstance(value, str | Mapping) else value
        for key, value in args.items()
    }
    for key, required in accepted_arguments(cls).items():
        value = context.get(_FROM_CONTEXT.get(key, ""))
        if required and value is not None:
            settings.setdefault(key, value)
    return construct(what, cls, settings)


def _part(key: str, written: object, context: Mapping[str, int | None]) -> Any:
    """A miner, distance, reducer, regulariser or inner loss, from its name or {name, args}."""
    if isinstance(written, str):
        written = {"name": written}
    if not isinstance(written, Mapping) or not isinstance(written.get("name"), str):
        raise TypeError(f"the {key} of a pml loss is written as a name or as {{name, args}}, got {written!r}")
    name = written["name"].removeprefix(PREFIX)
    surplus = set(written) - {"name", "args"}
    if surplus:
        raise TypeError(f"the {key} {name!r} has settings outside its args: {', '.join(sorted(surplus))}")
    if key == "loss":
        cls = _loss_class(name)
    else:
        classes = _classes(_ROOMS[key])
        if name not in classes:
            raise unknown(f"pml {key}", name, classes)
        cls = classes[name]
    return _construct(f"the {key} {name!r}", cls, written.get("args") or {}, context)


def _loss_class(name: str) -> type[nn.Module]:
    classes = _classes("losses")
    if name not in classes:
        raise unknown("loss", PREFIX + name, [PREFIX + other for other in classes])
    if name in _UNSUITABLE:
        raise LookupError(f"the loss {PREFIX + name!r} cannot be used here: {_UNSUITABLE[name]}")
    return classes[name]


def _classes(room: str) -> dict[str, type[nn.Module]]:
    """The concrete classes of a room of the library, by name."""
    module = importlib.import_module(f"pytorch_metric_learning.{room}")
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not name.startswith(_ABSTRACT)
    }
