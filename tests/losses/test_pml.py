from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from understudy.losses._building import accepted_arguments, construct
from understudy.losses.pml import PmlLoss, build_pml, pml_names

LABELS = torch.arange(4).repeat_interleave(3)
REQUIRED: dict[str, dict[str, Any]] = {
    "pml:RankedListLoss": {"margin": 0.4, "Tn": 5},
    "pml:CrossBatchMemory": {"loss": "ContrastiveLoss"},
}


def embedding(n: int = 12) -> Tensor:
    return F.normalize(torch.randn(n, 6, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()


def build(name: str, args: dict[str, Any] | None = None) -> PmlLoss:
    return build_pml(name, REQUIRED.get(name, {}) if args is None else args, num_classes=4, embedding_size=6)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # the library's own
@pytest.mark.parametrize("name", pml_names())
def test_every_loss_of_the_library_trains(name: str) -> None:
    torch.manual_seed(0)
    loss = build(name)
    for _ in range(2):  # what a loss keeps of a step must not break the next
        x = embedding()
        value = loss(x, LABELS)
        assert value.shape == ()
        assert value.isfinite()
        gradients = torch.autograd.grad(value, [x, *loss.parameters()], allow_unused=True)
        assert all(g is not None and g.isfinite().all() for g in gradients)
        assert gradients[0].abs().max() > 0
    assert not loss.capturable


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # the library's own
@pytest.mark.parametrize("name", pml_names())
def test_rows_without_a_pair_give_a_number(name: str) -> None:
    torch.manual_seed(0)
    x = embedding(4)
    value = build(name)(x, torch.arange(4))
    assert value.isfinite()
    assert torch.autograd.grad(value, x)[0].isfinite().all()


DRAWING: list[tuple[str, dict[str, Any]]] = [
    ("pml:TripletMarginLoss", {"margin": 0.3, "triplets_per_anchor": 1}),
    ("pml:TripletMarginLoss", {"margin": 0.3, "miner": "DistanceWeightedMiner"}),
    ("pml:ContrastiveLoss", {"miner": {"name": "UniformHistogramMiner", "args": {"pos_per_bin": 1}}}),
]


@pytest.mark.parametrize(("name", "args"), DRAWING)
def test_draws_are_those_of_the_generator(name: str, args: dict[str, Any]) -> None:
    loss, x = build(name, args), embedding()

    def value(seed: int) -> float:
        number: float = loss(x, LABELS, torch.Generator().manual_seed(seed)).item()
        return number

    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = value(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert value(0) == one
    assert len({value(seed) for seed in range(8)}) > 1
    assert len({loss(x, LABELS).item() for _ in range(8)}) > 1


def test_a_generator_goes_on_from_call_to_call() -> None:
    loss, x, generator = build(*DRAWING[0]), embedding(), torch.Generator().manual_seed(0)
    assert len({loss(x, LABELS, generator).item() for _ in range(8)}) > 1


@pytest.mark.parametrize("calls", [1, 3])  # of 12 rows into a memory of 30: partly full, and once round it
def test_a_memory_goes_on_where_its_state_was_saved(calls: int) -> None:
    loss, resumed = (
        build("pml:CrossBatchMemory", {"loss": "ContrastiveLoss", "memory_size": 30}) for _ in range(2)
    )

    def value(loss: PmlLoss, seed: int) -> Tensor:
        x = F.normalize(torch.randn(12, 6, generator=torch.Generator().manual_seed(seed)), dim=1)
        number: Tensor = loss(x, LABELS)
        return number

    for seed in range(calls):
        value(loss, seed)
    state = nn.ModuleList([loss]).state_dict()
    assert all(isinstance(entry, Tensor) for entry in state.values())
    nn.ModuleList([resumed]).load_state_dict(state)
    for seed in range(10, 13):
        assert torch.equal(value(resumed, seed), value(loss, seed))


def test_a_memory_of_before_how_full_it_is_was_kept_counts_as_empty() -> None:
    loss = build("pml:CrossBatchMemory", {"loss": "ContrastiveLoss", "memory_size": 30})
    state = nn.ModuleList([loss]).state_dict()
    del state["0.filled"]
    nn.ModuleList([loss]).load_state_dict(state)
    assert not loss.filled.any()


def test_a_loss_without_a_memory_keeps_no_state_of_one() -> None:
    assert not build("pml:ContrastiveLoss").state_dict()


@pytest.mark.parametrize("name", ["pml:ContrastiveLoss", "pml:ProxyAnchorLoss", "pml:MultiSimilarityLoss"])
def test_unlabelled_rows_take_no_part(name: str) -> None:
    torch.manual_seed(0)
    loss, x = build(name), embedding()
    labels = LABELS.clone()
    labels[[1, 5, 6]] = -1
    kept = labels >= 0
    alone = x.detach()[kept].requires_grad_()
    torch.testing.assert_close(loss(x, labels), loss(alone, labels[kept]))
    (gradient,) = torch.autograd.grad(loss(x, labels), x)
    assert torch.equal(gradient[~kept], torch.zeros(3, 6))
    torch.testing.assert_close(gradient[kept], torch.autograd.grad(loss(alone, labels[kept]), alone)[0])


@pytest.mark.parametrize("name", ["pml:ContrastiveLoss", "pml:ProxyAnchorLoss", "pml:TripletMarginLoss"])
def test_no_labelled_row_is_zero_with_a_graph(name: str) -> None:
    x = embedding()
    value = build(name)(x, torch.full((12,), -1))
    assert value.item() == 0
    assert torch.equal(torch.autograd.grad(value, x)[0], torch.zeros(12, 6))


def test_equals_the_library_with_its_miner() -> None:
    from pytorch_metric_learning import losses, miners

    x = embedding()
    loss = build("pml:TripletMarginLoss", {"margin": 0.3, "miner": {"name": "BatchHardMiner"}})
    expected = losses.TripletMarginLoss(margin=0.3)(x, LABELS, miners.BatchHardMiner()(x, LABELS))
    torch.testing.assert_close(loss(x, LABELS), expected)
    assert not torch.isclose(build("pml:TripletMarginLoss", {"margin": 0.3})(x, LABELS), expected)


def test_parts_are_built_from_names_and_settings() -> None:
    loss = build(
        "pml:CrossBatchMemory",
        {
            "loss": {
                "name": "ContrastiveLoss",
                "args": {
                    "distance": {"name": "LpDistance", "args": {"p": 1}},
                    "reducer": {"name": "ThresholdReducer", "args": {"low": 0.1}},
                    "embedding_regularizer": "LpRegularizer",
                },
            },
            "memory_size": 64,
            "miner": {"name": "MultiSimilarityMiner", "args": {"epsilon": 0.2}},
        },
    )
    memory: Any = loss.loss
    assert (memory.memory_size, memory.embedding_size, memory.miner.epsilon) == (64, 6, 0.2)
    assert memory.loss.distance.p == 1
    assert memory.loss.reducer.reducers["pos_loss"].low == 0.1
    assert type(memory.loss.embedding_regularizer).__name__ == "LpRegularizer"
    assert loss.miner is None  # the memory mines for itself
    for _ in range(2):
        assert loss(embedding(), LABELS).isfinite()


def test_classes_and_dimension_are_only_given_where_they_are_required() -> None:
    proxies: Any = build("pml:ProxyAnchorLoss", {"num_classes": 9}).loss
    assert proxies.proxies.shape == (9, 6)
    margin: Any = build("pml:MarginLoss", {}).loss
    assert margin.beta.shape == (1,)
    sub_centres: Any = build("pml:SubCenterArcFaceLoss", {}).loss
    assert sub_centres.W.shape == (6, 4 * 3)


def test_half_precision_computes_in_float32() -> None:
    x = embedding().detach()
    loss = build("pml:MultiSimilarityLoss")
    expected = loss(x.bfloat16().float(), LABELS)
    assert expected.dtype == torch.float32
    assert torch.equal(loss(x.bfloat16(), LABELS), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(x.bfloat16(), LABELS), expected)


@pytest.mark.parametrize(
    ("name", "args", "error", "message"),
    [
        (
            "pml:AnglarLoss",
            {},
            LookupError,
            "no loss named 'pml:AnglarLoss': did you mean 'pml:AngularLoss'?",
        ),
        (
            "pml:DynamicSoftMarginLoss",
            {},
            LookupError,
            "cannot be used here: it keeps the graph of the step before",
        ),
        ("pml:VICRegLoss", {}, LookupError, "'pml:VICRegLoss' cannot be used here: it needs a second view"),
        (
            "pml:AngularLoss",
            {"alph": 4},
            TypeError,
            "'pml:AngularLoss' takes no 'alph': did you mean 'alpha'?",
        ),
        (
            "pml:AngularLoss",
            {"miner": "BatchHard"},
            LookupError,
            "no pml miner named 'BatchHard': did you mean",
        ),
        (
            "pml:AngularLoss",
            {"miner": 3},
            TypeError,
            "the miner of a pml loss is written as a name or as {name",
        ),
        (
            "pml:AngularLoss",
            {"miner": {"name": "PairMarginMiner", "margin": 1}},
            TypeError,
            "the miner 'PairMarginMiner' has settings outside its args: margin",
        ),
        (
            "pml:AngularLoss",
            {"miner": {"name": "PairMarginMiner", "args": {"pos": 1}}},
            TypeError,
            "the miner 'PairMarginMiner' takes no 'pos': ",
        ),
        ("pml:CrossBatchMemory", {"loss": "Contrastive"}, LookupError, "did you mean 'pml:ContrastiveLoss'?"),
        ("pml:RankedListLoss", {}, TypeError, "the loss 'pml:RankedListLoss' needs margin and Tn (it takes"),
        (
            "pml:ArcFaceLoss",
            {"distance": "LpDistance"},
            TypeError,
            "requires the distance metric to be Cosine",
        ),
    ],
)
def test_mistakes_are_named_in_one_sentence(
    name: str, args: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        build(name, args)
    assert message in str(caught.value.args[0])


def test_a_loss_over_classes_says_when_it_does_not_know_how_many() -> None:
    with pytest.raises(
        TypeError, match="the loss 'pml:ProxyAnchorLoss' needs num_classes and embedding_size"
    ):
        build_pml("pml:ProxyAnchorLoss", {})


def test_bad_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="pml:ContrastiveLoss needs one int64 label for each of 12 rows"):
        build("pml:ContrastiveLoss")(embedding(), LABELS.float())


def test_accepted_arguments_follow_what_a_class_passes_on() -> None:
    class Base:
        def __init__(self, needed: int, optional: int = 1) -> None:
            self.values = (needed, optional)

    class Supplies(Base):
        def __init__(self, own: int, **kwargs: Any) -> None:
            super().__init__(own, **kwargs)

    class Forwards(Base):
        def __init__(self, *args: Any, own: int = 0, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    class Closed(Base):
        def __init__(self, own: int) -> None:
            super().__init__(own)

    assert accepted_arguments(Supplies) == {"own": True, "optional": False}
    assert accepted_arguments(Forwards) == {"own": False, "needed": True, "optional": False}
    assert accepted_arguments(Closed) == {"own": True}
    assert construct("it", Supplies, {"own": 3, "optional": 4}).values == (3, 4)
