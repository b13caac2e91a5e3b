"""The throughput bench: its arithmetic, its memory of what is measured, and a whole table at tiny sizes."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import multiprocessing
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp

FOLDER = Path(__file__).parent.parent / "benchmarks"
TINY = ["--device", "cpu", "--no-compile", "--students", "smallconv_8", "--teachers", "smallconv_16"]
TINY += ["--batches", "8", "--seconds", "0.001", "--rounds", "1", "--images", "64"]


def load(name: str) -> ModuleType:
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    return importlib.import_module(name)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def setting(**changes: Any) -> Any:
    values = {"student": "smallconv_8", "batch": 8, "size": (40, 40), "device": torch.device("cpu")}
    tiny = {"seconds": 0.001, "images": 64, "rounds": 2}
    return load("_throughput_setting").Setting(**{**values, **tiny, **changes})


def ticking(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Lets a second pass between any two looks at the clock."""
    clock = itertools.count()
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(clock)))


def run(monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["throughput.py", *TINY, "--out", str(out), *words])
    load("throughput").main()
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def test_a_tiny_table_has_every_row_and_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = ["--parts", "grid,files,s2sd", "--files", "16", "--workers", "0"]
    script = load("throughput")
    monkeypatch.setattr(script, "s2sd_group", functools.partial(script.s2sd_group, dims=(16, 32)))
    found = run(monkeypatch, tmp_path / "table.json", *words)
    figures = {line["what"].partition(": ")[2]: line["figures"] for line in found["lines"]}
    assert not [line["error"] for line in found["lines"] if "error" in line]
    rows = ["(a) bare step", "(b) from labels", "(d) from a table", "(d) from a table on disk"]
    rows += ["bare step and smallconv_16"]
    rows += ["(c) from a live smallconv_16", "(e) a plain loop on JPEGs", "(b) on the same JPEGs"]
    rows += ["(b) on the same JPEGs, streamed from the host's memory", "step of multi-similarity"]
    heads = ["2 heads without criteria", "S2SD, 2 heads, MSD", "S2SD, 2 heads, MSDF"]
    assert list(figures) == [*rows, *heads]
    assert all(
        "GB at most" in row and all(value > 0 for value in [row["GB at most"]]) for row in figures.values()
    )
    jpegs, plain = figures["(b) on the same JPEGs"], figures["(e) a plain loop on JPEGs"]
    assert jpegs["× (e)"] == pytest.approx(jpegs["images/s"] / plain["images/s"], rel=1e-2)
    s2sd, base = figures["S2SD, 2 heads, MSD"], figures["step of multi-similarity"]
    more = s2sd["ms for the heads"] + s2sd["ms for the criteria"]
    assert s2sd["more than the base"] == pytest.approx(more / base["ms a step"], rel=1e-2)
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert f"| {figures['(a) bare step']['images/s']:,.0f} |" in page


def test_only_what_matches_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = run(monkeypatch, tmp_path / "table.json", "--only", "batch 8, 40 × 40$")
    assert found["complete"] == ["smallconv_8, batch 8, 40 × 40"]
    assert {line["group"] for line in found["lines"]} == set(found["complete"])


def sheet(out: Path, **settings: Any) -> Any:
    return load("_throughput_sheet").Sheet(out, "title", {"machine": "test"}, "notes", **settings)


def test_a_later_run_measures_what_is_missing_and_what_failed(tmp_path: Path) -> None:
    line, group = load("_losses_table").Line, load("_throughput_sheet").Group
    asked: list[str] = []

    def lines(name: str, *, fails: bool = False) -> Any:
        def work(_: Any) -> dict[str, float]:
            asked.append(name)
            if fails:
                raise torch.OutOfMemoryError("no room")
            return {"images/s": 3.0}

        return group(
            name, lambda: [(line(f"{name} first", "≥ 4", 4.0, at_least=True), work), (line(name), work)]
        )

    def unbuilt() -> Any:
        raise RuntimeError("cannot be built")

    out = tmp_path / "a.json"
    sheet(out).run([lines("one"), lines("two", fails=True), group("three", unbuilt), lines("four")])
    assert asked == ["one", "one", "two", "two", "four", "four"]  # a failure stops nothing
    saved = json.loads(out.read_text(encoding="utf-8"))
    assert [row.get("error") for row in saved["lines"]] == [
        *[None] * 2,
        *["OutOfMemoryError: no room"] * 2,
        "RuntimeError: cannot be built",
        *[None] * 2,
    ]
    again = sheet(tmp_path / "b.json")
    again.merge(out)
    again.run([lines("one"), lines("two"), lines("three"), lines("four"), lines("five")])
    assert asked[6:] == ["two", "two", "three", "three", "five", "five"]
    merged = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    assert len(merged["lines"]) == 10
    assert {row["met"] for row in merged["lines"] if "met" in row} == {
        False
    }  # 3 of 4, also where it was read
    assert merged["lines"][0] == saved["lines"][0]


def test_no_group_is_begun_after_the_time(tmp_path: Path) -> None:
    line, group = load("_losses_table").Line, load("_throughput_sheet").Group
    late = sheet(tmp_path / "a.json")
    late.run([group("one", lambda: [(line("one"), lambda _: {"ms": 1.0})])], until=0.0)
    assert not (tmp_path / "a.json").exists()


def test_an_error_ends_what_several_processes_measure_together(tmp_path: Path) -> None:
    line, group = load("_losses_table").Line, load("_throughput_sheet").Group
    nothing: dict[str, dict[str, float]] = {}
    works = [(line("a"), lambda _: nothing["a"]), (line("b"), lambda _: pytest.fail("went on"))]
    with pytest.raises(SystemExit, match="KeyError"):
        sheet(tmp_path / "a.json", stops=True).run([group("one", lambda: works)])


def test_the_bare_step_is_timed_by_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = load("_throughput_bare")
    ticking(monkeypatch, bare)
    calls: list[None] = []
    assert bare.rates(lambda: calls.append(None), 8, setting(seconds=4.0)) == [12 * 8, 12 * 8]
    assert len(calls) == 3 + 3 + 2 * 12  # warmed up, tried, and two rounds of 4 s at 3 steps a second


def test_the_loop_is_timed_by_its_images_and_without_what_is_between(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, one, clock = load("_throughput_loop"), setting(), [0.0]
    images = load("_throughput_setting").noise(one)
    task = loop.build(one, [loop.on_labels()], {})
    plain = loop.batches

    def slow(*args: Any, **kwargs: Any) -> Any:
        def start(step: int) -> Iterator[Any]:
            for batch in plain(*args, **kwargs)(step):
                clock[0] += 1  # a second a batch
                yield batch

        return start

    def between() -> None:
        clock[0] += 1000

    monkeypatch.setattr(loop, "batches", slow)
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    found, memory = loop.train(one, images, task, 1.0, between)
    assert len(found) == 2
    assert found[0] == 8.0  # images a second; the last round may have its last batch before it begins
    assert clock[0] == 3 * 3 + 3 * 1000
    assert memory > 0


def test_the_ceiling_is_the_fastest_way_and_a_failing_way_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("_throughput_bare")
    line = load("_losses_table").Line("ceiling")
    bare = module.Bare(setting(compiles=True))
    assert bare.ways == ("as it is", "memory kept", "compiled")
    speeds = {"as it is": [5.0, 7.0, 6.0], "memory kept": [6.0], "compiled": [9.0, 8.0, 1.0]}
    monkeypatch.setattr(bare, "_rounds", lambda way, *_, **__: speeds[way])
    figures = bare.ceiling(line)
    assert next(iter(figures.items())) == ("images/s", 8.0)
    assert figures["as it is"] == 6.0
    assert bare.best == "compiled"
    del speeds["compiled"]
    assert bare.ceiling(line)["images/s"] == 6.0
    assert line.note == "compiled: KeyError: 'compiled'"


def test_a_round_on_a_cpu_is_held_against_the_bare_step_before_and_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, speeds = load("_throughput_grid"), iter([10, 1, 20, 2, 30, 90, 50, 5])  # two ways in turn

    def train(_setting: Any, _images: Any, _task: Any, guess: float, between: Any, _stored: Any) -> Any:
        assert guess == 40.0
        for _ in range(4):
            between()
        return [15.0, 20.0, 20.0], 1.0

    monkeypatch.setattr(module, "rates", lambda *_: [float(next(speeds))])
    monkeypatch.setattr(module, "train", train)
    ceiling = load("_losses_table").Line("ceiling")
    ceiling.figures = {"images/s": 40.0}
    work = module.ours(setting(), lambda: None, ceiling, lambda: [None, None], "of it")
    figures = {"of it": 0.8, "images/s": 20.0, "GB at most": 1.0, "images/s beside it": 25.0}
    assert work(load("_losses_table").Line("row")) == figures  # 15/15, 20/25 and 20/40


def test_a_processor_has_a_row_that_is_not_compiled() -> None:
    module = load("_throughput_grid")
    names = [line.what for line, _ in module.Grid()._alone(setting(compiles=True))]
    assert [name.partition(": ")[2][:16] for name in names[-2:]] == ["(d) from a table", "(b) not compiled"]
    assert len(module.Grid()._alone(setting())) == len(names) - 1


def test_what_is_compiled_ahead_is_every_row_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module, seen = load("_throughput_prepare"), []

    class Process:
        def __init__(self, words: list[str], **settings: Any) -> None:
            assert "WORLD_SIZE" not in settings["env"]
            seen.append(words)

        def wait(self) -> None:
            pass

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(module.subprocess, "Popen", Process)
    script = load("throughput")
    two = ["--students", "smallconv_8,smallconv_16", "--sizes", "40x40,48x24"]
    two += ["--merge", str(tmp_path / "earlier.json"), "--until", "100"]
    monkeypatch.setattr(sys, "argv", ["throughput.py", *TINY, *two])
    module.prepare(Path("throughput.py"), script.parsed(several=False), 3)
    asked = []
    for words in seen:
        monkeypatch.setattr(sys, "argv", words[1:])
        arguments = script.parsed(several=False)
        mine, of = arguments.share
        every = [(size, student) for size in arguments.sizes for student in arguments.students]
        asked += every[mine::of]
        assert arguments.compile_jobs == 0
        assert arguments.parts == ["grid"]
        assert arguments.merge == tmp_path / "earlier.json"
        assert arguments.until == 60.0
        assert not arguments.out.parent.exists()
    assert sorted(asked) == sorted(itertools.product([(40, 40), (48, 24)], ["smallconv_8", "smallconv_16"]))


def test_bare_heads_change_nothing_and_are_differentiated() -> None:
    heads = load("_throughput_s2sd").Heads(6, (5, 7))
    step_of = importlib.import_module("understudy.training.objective.step").Step
    embedding, pooled = torch.randn(8, 4, requires_grad=True), torch.randn(8, 6, requires_grad=True)
    outputs = {"embedding": torch.nn.functional.normalize(embedding), "raw": embedding, "pooled": pooled}
    step = step_of(0, outputs, {}, torch.arange(8) // 4)
    value = heads(step)
    assert value.item() == pytest.approx(load("_throughput_loop").on_labels()(step).item())
    value.backward()
    assert all(parameter.grad is not None for parameter in heads.heads.parameters())


def test_another_gradient_is_seen() -> None:
    several, one = load("_throughput_several"), setting()
    gradient = several._gradient(one, "smallconv_16", bf16=True)
    assert float(gradient.norm()) > 0
    alone = several.Alone({}, {True: gradient, False: 0.5 * gradient})
    figures = several._apart(one, "smallconv_16", alone)
    assert figures["apart"] == pytest.approx(0.0, abs=1e-6)
    assert figures["apart in float32"] == pytest.approx(1.0)
    assert figures["of bfloat16 and float32 in one process"] == pytest.approx(1.0)


@pytest.mark.slow
def test_two_processes_measure_together_and_give_one_gradient(tmp_path: Path) -> None:
    multiprocessing.set_forkserver_preload([__name__, "understudy.training.run"])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    mp.start_processes(  # type: ignore[attr-defined, no-untyped-call]
        _process, args=(port, tmp_path / "two.json"), nprocs=2, start_method="forkserver"
    )
    lines = json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))["lines"]
    one, two, gradient = (line["figures"] for line in lines)
    assert two["× one"] == pytest.approx(two["images/s"] / one["images/s"], rel=1e-2)
    assert gradient["apart"] < 1e-4


def _process(rank: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    place = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": 2,
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": port,
    }
    os.environ.update({key: str(value) for key, value in place.items()})
    sys.argv = ["throughput.py", *TINY, "--out", str(out)]
    load("throughput").main()
