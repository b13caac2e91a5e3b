"""``embed`` cut off anywhere, by anything, and gone on with by any number of processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.numpy import load_file

from understudy.data import Augmentation, Items, Views, open_dataset
from understudy.data.preprocessing import decode
from understudy.data.table import Table
from understudy.data.table.writing import TableWriter
from understudy.errors import UserError
from understudy.models import load
from understudy.verbs import embed, embedding_answers

Command = Callable[..., Any]

ITEMS = 10  # of 48 images in a shard: 5 shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_answers, "_MOST_ITEMS", ITEMS)


@pytest.fixture
def model(taught: Path) -> Path:
    return taught / "teacher" / "model"


@pytest.fixture
def images(taught: Path) -> Path:
    return taught / "images"


def started(place: Path, words: list[str], environment: dict[str, str], kill: int | None) -> None:
    """Runs the command; the process kills itself after ``kill`` batches."""
    os.environ |= environment
    torch.set_num_threads(1)
    embedding_answers._MOST_ITEMS = ITEMS
    if kill is not None:
        asked, count = TableWriter.asked, 0

        def killed(self: TableWriter, number: int) -> None:
            nonlocal count
            asked(self, number)
            count += 1
            if count == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        TableWriter.asked = killed  # type: ignore[assignment, method-assign]
    sys.argv = ["understudy", *words]
    from understudy.cli import main

    with (place / f"said-{os.environ.get('RANK', '0')}").open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        main()


def begin(place: Path, words: list[Any], world: int = 1, kill: int | None = None) -> list[Any]:
    """Starts the processes of one launch, forked from one that has imported the package."""
    multiprocessing.set_forkserver_preload([__name__, "understudy.cli", "understudy.verbs"])
    context = multiprocessing.get_context("forkserver")
    ranks: list[dict[str, str]] = [{}]
    if world > 1:
        store: Any = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # type: ignore[attr-defined]
        stores.append(store)
        ranks = [
            {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "TORCHELASTIC_RESTART_COUNT": "0",
            }
            for rank in range(world)
        ]
    plain = [str(word) for word in words]
    processes = [
        context.Process(target=started, args=(place, plain, ranks[rank], kill)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


stores: list[Any] = []


def ended(processes: list[Any]) -> list[int | None]:
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]


def contents(place: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in place.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def same(table: Path, expected: Path) -> int:
    """Holds every byte of a table to another's; says how many queries more it took."""
    found, wanted = contents(table), contents(expected)
    assert found.keys() == wanted.keys()
    assert {name for name in found if found[name] != wanted[name]} <= {"table.json"}
    facts, others = (json.loads(files["table.json"]) for files in (found, wanted))
    more: int = facts.pop("queries") - others.pop("queries")
    assert facts == others
    return more


@pytest.mark.slow
def test_killed_and_gone_on_with_by_other_numbers_of_processes(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    whole, table = tmp_path / "whole", tmp_path / "table"
    words = ["embed", model, images, "--batch-size", 4, "--device", "cpu", "-o"]
    embed(model, images, whole, batch_size=4, device="cpu")
    # Three batches a shard: it is killed in its second shard.
    assert ended(begin(tmp_path, [*words, table], kill=5)) == [-signal.SIGKILL]
    assert len(list((table / "shards").glob("[0-9]*.safetensors"))) == 1
    with pytest.raises(UserError, match="is not finished: run the command that writes it again"):
        Table.open(table)
    assert ended(begin(tmp_path, [*words, table], world=2)) == [0, 0], (tmp_path / "said-0").read_text()
    lost = same(table, whole)
    assert lost == 8  # two batches were asked about and not kept
    assert (tmp_path / "said-0").read_text().endswith(f"48 vectors of dimension 12: {table}\n")
    said = (tmp_path / "said-1").read_text().splitlines()
    assert [line for line in said if "[Gloo]" not in line] == []  # which PyTorch 2.9 still says
    again = command(*words, table)
    assert (again.status, again.out) == (0, f"48 vectors of dimension 12: {table}\n")
    assert same(table, whole) == lost  # nothing was asked


@pytest.mark.slow
def test_two_that_do_not_know_each_other(model: Path, images: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    words = ["embed", model, images, "--device", "cpu", "-o", tmp_path / "table"]
    both = [begin(tmp_path / name, words)[0] for name in ("a", "b")]
    assert sorted(map(str, ended(both))) in (["0", "0"], ["0", "2"])  # side by side, or one behind the other
    for name, status in zip(("a", "b"), ended(both), strict=True):
        said = (tmp_path / name / "said-0").read_text()
        assert ("another process is writing the embedding table" in said) == (status == 2)
    assert Table.open(tmp_path / "table").queries == 48


def test_each_view_is_the_one_that_a_student_is_shown(model: Path, images: Path, tmp_path: Path) -> None:
    augmentation = Augmentation(rotate=20, crop_scale=(0.5, 1.0), flip=0.5)
    table = embed(
        model, images, tmp_path / "t", views=3, augmentation=augmentation, view_seed=5, split="train"
    )
    assert table.view_rows is not None
    assert (table.num_views, table.view_seed, table.queries) == (3, 5, 144)
    assert table.recipe == augmentation.model_copy(update={"num_views": 3}).model_dump(mode="json")
    embedder, dataset = load(model).eval(), open_dataset(images)
    numbers = torch.tensor([0, 2, 1])
    rows = torch.tensor([40, 7, 7])
    endless = Views(augmentation, 5, rows, numbers)  # as a run draws them
    pre = embedder.preprocessing
    pixels = [
        decode(dataset.image(row, pre.channels), pre.resize, pre.mode, pre.interpolation, pre.channels)
        for row in rows.tolist()
    ]
    items = Items(rows, torch.from_numpy(np.stack(pixels)), endless)
    with torch.no_grad():
        expected = embedder.embed(embedder.prepare(items)).numpy()
    places = table.rows([dataset.manifest.ids[row] for row in rows.tolist()])
    assert table.view_rows[places].tolist() == rows.tolist()
    np.testing.assert_allclose(table.read(places, numbers.numpy()), expected, atol=1e-5)
    assert np.abs(table.read(places[1:2], 0) - table.read(places[1:2], 1)).max() > 1e-3


def test_the_recipe_of_a_run_is_taken_over(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(f"data: {images}\nview_seed: 9\naugment: {{rotate: 30.0}}\n", encoding="utf-8")
    done = command("embed", model, images, "--views", 2, "--recipe", run, "-o", tmp_path / "t")
    assert (done.status, done.out) == (0, f"48 × 2 vectors of dimension 12: {tmp_path / 't'}\n")
    table = Table.open(tmp_path / "t")
    assert table.recipe is not None
    assert (table.recipe["rotate"], table.recipe["flip"], table.view_seed) == (30.0, 0.5, 9)
    measured = command("evaluate", f"table:{tmp_path / 't'}", images)
    assert measured.status == 2
    assert "holds augmented views: measure a table of the clean images" in measured.err
    other = command("embed", model, images, "--views", 3, "--recipe", run, "-o", tmp_path / "t")
    assert "the number of views: 2 there, 3 here" in other.err
    refused = command("embed", model, images, "--recipe", run, "-o", tmp_path / "u")
    assert refused.err == "error: --recipe and --view-seed say what varies between views: pass --views too\n"


def test_logits_and_short_numbers(command: Command, model: Path, images: Path, tmp_path: Path) -> None:
    done = command("embed", model, images, "--logits", "--dtype", "float16", "-o", tmp_path / "t")
    assert done.out.splitlines()[1].startswith("float16 keeps ")
    table, embedder = Table.open(tmp_path / "t"), load(model).eval()
    assert table.classes == embedder.classes
    assert (table.dtype, table.dim) == ("float16", 12)
    pre = embedder.preprocessing
    pixels = open_dataset(images).pixels(
        resize=pre.resize, mode=pre.mode, channels=pre.channels, interpolation=pre.interpolation
    )
    with torch.no_grad():
        expected = embedder.forward(embedder.prepare(pixels.items(pixels.rows)))
    np.testing.assert_allclose(table.read_logits(range(48)), expected["logits"], atol=0.02, rtol=1e-3)
    np.testing.assert_allclose(table.read(range(48)), expected["embedding"], atol=1e-3)
    missing = command(
        "embed", "timm:smallconv_8?weights=random&dim=4", images, "--logits", "-o", tmp_path / "u"
    )
    assert "has no classifier: leave --logits out" in missing.err
    assert not (tmp_path / "u").exists()


def test_images_that_change_meanwhile_are_asked_about_again(
    model: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "class07" / "5.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="1 of 48 images cannot be read"):
        embed(model, folder, tmp_path / "t")
    assert len(list((tmp_path / "t" / "shards").iterdir())) == 4  # all but the last are kept
    first, last = folder / "class00" / "0.png", folder / "class07" / "4.png"
    first.write_bytes(last.read_bytes())
    table = embed(model, folder, tmp_path / "t", skip_unreadable=True)
    assert (len(table), table.queries) == (47, 40 + 10 + 7)
    twins = table.read(table.rows(["class00/0.png", "class07/4.png"]))
    np.testing.assert_allclose(twins[0], twins[1], atol=1e-6)
    os.utime(last, ns=(0, 0))  # copied, say: it is still the same image
    assert embed(model, folder, tmp_path / "t", skip_unreadable=True).queries == table.queries
    last.write_bytes((folder / "class07" / "3.png").read_bytes())
    with pytest.raises(UserError, match=r"is finished, and images have changed since \('class07/4.png'\)"):
        embed(model, folder, tmp_path / "t", skip_unreadable=True)


def test_a_disk_that_fills(
    model: Path, images: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(100), pytest.raises(UserError, match=r"^no space left while writing '.*t.*': free some"):
        embed(model, images, tmp_path / "t")
    with full_disk(900), pytest.raises(UserError, match=r"no space left"):
        embed(model, images, tmp_path / "t")
    table = embed(model, images, tmp_path / "t")
    table.verify()
    assert len(table) == 48


def test_a_truncated_shard_is_mended(model: Path, images: Path, tmp_path: Path) -> None:
    before = embed(model, images, tmp_path / "t")
    shard = tmp_path / "t" / "shards" / "00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"00002.safetensors' has \d+ of \d+ bytes \(truncated\?\): write"):
        Table.open(tmp_path / "t")
    after = embed(model, images, tmp_path / "t")
    assert (after.fingerprint, after.queries) == (before.fingerprint, before.queries + ITEMS)


_FACTORY = """
import torch

calls = []

class Api:
    dim = 3
    preprocessing = {"size": [16, 16], "resize": [16, 16], "channels": 1, "mean": [0.0], "std": [1.0]}

    def __call__(self, images):
        calls.append(len(images))
        if len(calls) == 7:
            raise ConnectionError("503")
        return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3)), images.std((1, 2, 3))], 1)

def factory():
    return Api()
"""


def test_a_callable_that_fails_once_is_asked_again_and_that_counts(
    command: Command, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "api.py").write_text(_FACTORY, encoding="utf-8")
    reference = f"python:{tmp_path / 'api.py'}:factory"
    words = ("embed", reference, images, "--batch-size", 5, "-o", tmp_path / "t")
    done = command(*words)
    assert done.status == 0, done.err
    table = Table.open(tmp_path / "t")
    dataset = open_dataset(images)
    x = np.stack([np.asarray(dataset.image(row, 1)) for row in range(48)]).astype(np.float32) / 255
    np.testing.assert_allclose(table.read(range(48))[:, 0], x.mean((1, 2)), atol=1e-5)
    assert table.queries == 48 + 5  # the seventh batch was asked about twice


def test_a_teacher_that_is_asked_loses_no_more_than_a_run_would(
    command: Command, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that was begun with larger files is gone on with as it is."""
    monkeypatch.setattr(embedding_answers, "_MOST_ITEMS", 2048)
    monkeypatch.setattr(embedding_answers, "SHARD_ROWS", 8)
    (tmp_path / "api.py").write_text(_FACTORY.replace("== 7", "== 5"), encoding="utf-8")
    (tmp_path / "dead.py").write_text(_FACTORY.replace("== 7", ">= 5").replace("Connection", "Type"))
    words = (
        "embed",
        f"python:{tmp_path / 'dead.py'}:factory",
        images,
        "--batch-size",
        4,
        "-o",
        tmp_path / "t",
    )
    assert command(*words).status == 2
    assert len([*(tmp_path / "t" / "shards").iterdir()]) == 2  # four batches of four were answered

    reference = f"python:{tmp_path / 'dead.py'}:factory"
    old = ("embed", reference, images, "--batch-size", 4, "-o", tmp_path / "old")
    with monkeypatch.context() as before:
        before.setattr(embedding_answers, "SHARD_ROWS", 12)
        assert command(*old).status == 2
    assert len([*(tmp_path / "old" / "shards").iterdir()]) == 1
    shutil.copy(tmp_path / "api.py", tmp_path / "dead.py")
    for place, sizes in (("old", [12] * 4), ("t", [8] * 6)):
        done = command(*words[:-1], tmp_path / place)
        assert done.status == 0, done.err
        files = sorted((tmp_path / place / "shards").iterdir())
        assert [len(load_file(file)["vectors"]) for file in files] == sizes
    old_one, new_one = (Table.open(tmp_path / place).read(range(48)) for place in ("old", "t"))
    np.testing.assert_array_equal(old_one, new_one)


def test_a_model_in_memory_stays_as_it_is(model: Path, images: Path, tmp_path: Path) -> None:
    embedder = load(model).train()
    embed(embedder, images, tmp_path / "t")
    assert embedder.training
    assert all(weight.requires_grad for weight in embedder.parameters())
    again = embed(model, images, tmp_path / "t")  # the same weights: the same table
    assert again.queries == 48


def test_a_network_may_compute_in_half_precision(
    command: Command, model: Path, images: Path, tmp_path: Path
) -> None:
    whole, half = tmp_path / "whole", tmp_path / "half"
    command("embed", model, images, "-o", whole)
    command("embed", model, images, "-o", half, "--precision", "bf16")
    vectors = [Table.open(place).read(np.arange(ITEMS)) for place in (whole, half)]
    assert 1e-5 < np.abs(vectors[0] - vectors[1]).max() < 5e-2
    assert (vectors[0] * vectors[1]).sum(axis=1).min() > 0.999
    assert "precision" in command("embed", model, images, "-o", half).err
    assert "there is no precision 'fp8'" in command("embed", model, images, "--precision", "fp8").err
