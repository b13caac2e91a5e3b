"""Training on tuples with mined negatives: what reaches the loss, that runs resume, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from safetensors.torch import load_file

from understudy.config import RunConfig, parse
from understudy.data import Manifest, open_dataset
from understudy.data.layouts import Prepared
from understudy.data.protocol import Protocol
from understudy.data.samplers import Tuples
from understudy.errors import UserError
from understudy.losses import TupleContrastive
from understudy.training import run as run_module
from understudy.training.assemble import assemble
from understudy.training.directory.results import read_run
from understudy.training.guard import NotFinite
from understudy.training.objective.terms import SupervisedTerm
from understudy.training.progress import Reporter
from understudy.training.run import execute
from understudy.training.sampling import build_sampler
from understudy.training.signals import Stopped
from understudy.training.workshop import Workshop

TUPLES = {"kind": "tuples", "batch_size": 8, "negatives": 2, "queries": 6, "pool": 20}


@pytest.fixture(scope="module")
def paired(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight classes of six images, two for validation; every image and the next of its class match."""
    folder = tmp_path_factory.mktemp("paired")
    source = open_dataset(taught / "images").manifest
    last = set(source.classes[-2:])
    manifest = Manifest.of_paths(
        taught / "images",
        list(source.paths),
        labels=list(source.labels),
        splits=["val" if label in last else "train" for label in source.labels],
    )
    ids, labels = manifest.ids, manifest.labels
    pairs = [(ids[i], ids[i + 1], "positive") for i in range(len(ids) - 1) if labels[i] == labels[i + 1]]
    pairs.append((ids[0], ids[8], "junk"))
    Prepared(manifest, Protocol.of(pairs)).save(folder / "pairs.csv")
    return folder / "pairs.csv"


def config(data: Path, **more: Any) -> RunConfig:
    value = {
        "data": str(data),
        "student": {"backbone": "smallconv_8", "dim": 8, "input_size": [16, 16]},
        "sampler": TUPLES,
        "steps": 8,
        "optim": {"lr": 0.01},
        "log_every": 1,
        "checkpoint_every": 100,
        **more,
    }
    parsed: RunConfig = parse(RunConfig, value, where="test")
    return parsed


def test_batches_are_tuples_mined_with_the_student_as_it_is(paired: Path) -> None:
    parts = assemble(config(paired), Workshop(), Reporter(quiet=True))
    dataset = open_dataset(paired)
    assert (len(parts.sampler), parts.batch_size) == (3, 8)
    (term,) = parts.task.terms
    assert isinstance(term, SupervisedTerm)
    assert isinstance(term.loss, TupleContrastive)
    assert term.loss.negatives == 2
    parts.task.train()
    state = torch.get_rng_state()
    stream = parts.batches(0)
    first = [next(stream) for _ in range(3)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in parts.task.student.modules())
    assert dataset.protocol is not None
    known = set(zip(*(side.tolist() for side in dataset.protocol.rows(dataset.manifest)[:2]), strict=True))
    codes = dataset.manifest.label_codes()
    for batch in first:
        for query, positive, *negatives in batch.items.rows.view(-1, 4).tolist():
            assert (query, positive) in known
            assert codes[query] == codes[positive]
            assert len({codes[row] for row in (query, *negatives)}) == 3
    assert parts.task(first[0])["loss"].isfinite()
    with torch.no_grad():
        for parameter in parts.task.student.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    other = assemble(config(paired), Workshop(), Reporter(quiet=True)).batches(3)
    changed = [next(stream).items.rows.tolist() for _ in range(3)]
    unchanged = [next(other).items.rows.tolist() for _ in range(3)]
    assert [rows[::4] for rows in changed] == [rows[::4] for rows in unchanged]  # the same queries
    assert changed != unchanged  # and negatives of another student


class _Asking:
    """Stands for `listening`: a stop is asked for once so many steps are taken."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def leave(self, outside: str | None) -> None:
        pass

    @property
    def signal(self) -> str | None:
        self.left -= 1
        return "SIGTERM" if self.left == 0 else None


@pytest.fixture(scope="module")
def whole(paired: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return execute(config(paired), tmp_path_factory.mktemp("whole") / "run").path


@pytest.mark.parametrize("at", [4, 6])  # in the middle of an epoch, and between two
def test_a_resumed_run_ends_at_the_same_bits(
    paired: Path, whole: Path, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "listening", lambda: _Asking(at))
        with pytest.raises(Stopped):
            execute(config(paired), out)
    torch.manual_seed(99)
    execute(config(paired), out, resume=True)
    assert read_run(out).metrics == read_run(whole).metrics
    weights, others = (load_file(place / "model" / "model.safetensors") for place in (out, whole))
    assert all(torch.equal(value, others[name]) for name, value in weights.items())


def test_the_end_of_a_run_mines_nothing(
    paired: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    real: Callable[..., None] = Tuples.refresh

    def refresh(self: Tuples, epoch: int, embed: Callable[..., torch.Tensor]) -> None:
        epochs.append(epoch)
        real(self, epoch, embed)

    monkeypatch.setattr(Tuples, "refresh", refresh)
    execute(config(paired, steps=6), tmp_path / "run")
    assert epochs == [0, 1]


def test_a_student_that_is_not_a_number_can_mine_nothing_and_says_so(paired: Path) -> None:
    parts = assemble(config(paired), Workshop(), Reporter(quiet=True))
    with torch.no_grad():
        next(parts.task.student.parameters()).fill_(torch.nan)
    with pytest.raises(NotFinite, match="the student's embeddings became NaN or infinite before an epoch"):
        next(parts.batches(0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_tuples_are_mined_between_the_steps_of_a_graph(paired: Path, tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {}
    for graph in ("auto", "off"):
        more = {"device": "cuda", "cuda_graph": graph, "precision": "fp32", "steps": 12}
        run = execute(config(paired, **more), tmp_path / graph)
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        losses[graph] = [line["tuple_contrastive"] for line in lines if "tuple_contrastive" in line]
    assert len(losses["auto"]) == len(losses["off"]) == 12
    assert losses["auto"][:6] == pytest.approx(losses["off"][:6], rel=0.05)  # two epochs, mined twice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sampler": {**TUPLES, "kind": "auto"}, "supervised": ["tuple_contrastive"]},
            "set sampler.kind to 'tuples'",
        ),
        (
            {"supervised": [{"name": "tuple_contrastive", "args": {"negatives": 3}}]},
            "set to 3 negatives and the sampler to 2: set only sampler.negatives",
        ),
        (
            {"s2sd": {"base": "tuple_contrastive", "base_args": {"negatives": 3}}},
            "set only sampler.negatives",
        ),
        ({"sampler": {**TUPLES, "batch_size": 9}}, "no whole number of tuples of 4 images .*: make it 8"),
    ],
)
def test_settings_that_do_not_fit_each_other(paired: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        assemble(config(paired, **change), Workshop(), Reporter(quiet=True))


def test_data_without_pairs_is_told_so(taught: Path, paired: Path) -> None:
    with pytest.raises(
        UserError, match="needs pairs of a query and its positive, and the data has none: prepare"
    ):
        assemble(config(taught / "images"), Workshop(), Reporter(quiet=True))
    manifest = open_dataset(paired).manifest
    junk = Protocol.of([(manifest.ids[0], manifest.ids[1], "junk")])
    sampler = config(paired).sampler
    with pytest.raises(UserError, match="the data has none"):
        build_sampler(sampler, manifest, manifest.rows("train"), 0, protocol=junk)
