"""The part that all others rest on: data, two teachers, and their stored answers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from _darkrank_quick import quick_run
from _market1501_settings import (
    DATA,
    ON_VALIDATION,
    STUDENT,
    STUDENT_WEIGHTS,
    TEACHER,
    TEACHER_EPOCHS,
    TEACHER_WEIGHTS,
    evaluation_steps,
)
from _steps import Step, Steps
from write_recipes import as_yaml

PART = "teacher"
PACK = "128x64,squash,bicubic"
TEACHERS = ("teacher", "teacher-val")


def prepare_teachers(arguments: argparse.Namespace, steps: Steps) -> None:
    """Does what is missing of it.

    Raises:
        OutOfTime: The time was over first.
        SystemExit: The data or the weights are wanted and not named, or a teacher lies there that other
            settings made.
    """
    work: Path = arguments.work
    for name, config in teachers().items():
        _refuse_another(work / name, _small(config, arguments.quick))
    if not (work / DATA).exists():
        steps.together([_prepare(arguments)], devices=0)
    if not arguments.quick:
        _link_weights(arguments)
    for name, config in {**teachers(), "student": STUDENT}.items():
        (work / f"{name}.yaml").write_text(as_yaml(_small(config, arguments.quick)), encoding="utf-8")
    devices = _devices(arguments.device)
    gpus = sum(torch.device(name).type == "cuda" for name in devices)
    place = {name: devices[number % len(devices)] for number, name in enumerate(TEACHERS)}
    steps.together(
        [
            _step(f"train {name}.yaml --out {name} --resume --device {place[name]}", f"{name}/summary.json")
            for name in TEACHERS
        ],
        devices=gpus,
    )
    _store_untrained(work, quick=arguments.quick)
    count = _small(STUDENT, arguments.quick)["augment"]["num_views"]
    views = f"--split train --views {count} --recipe student.yaml --logits --precision bf16"
    usual = "--flip --dtype float16"
    steps.together(
        [
            _step(
                f"embed {name}/model {DATA} -o {name}-{kind} {what} --device {place[name]}",
                f"{name}-{kind}/table.json",
            )
            for name in TEACHERS
            for kind, what in (("views", f"{views} {usual}"), ("clean", usual))
        ],
        devices=gpus,
    )


def measure_teachers(arguments: argparse.Namespace, steps: Steps) -> None:
    """Measures the teacher by both protocols, and the networks that it and the student start from.

    Raises:
        OutOfTime: The time was over first.
    """
    device = _devices(arguments.device)[0]
    steps.together(_measures(arguments.work, device), devices=int(torch.device(device).type == "cuda"))


def teachers() -> dict[str, dict[str, Any]]:
    """The configurations of the two teachers by the name of their run."""
    from understudy.config import merge

    along = {"evaluation": {"every": evaluation_steps(TEACHER_EPOCHS)}}
    return {"teacher": TEACHER, "teacher-val": merge(merge(TEACHER, ON_VALIDATION), along)}


def _refuse_another(run: Path, config: dict[str, Any]) -> None:
    """A finished teacher is not trained again, and one of other settings would be taken for it."""
    from understudy.config import RunConfig, parse, read_yaml
    from understudy.training.defaults import complete
    from understudy.training.directory.resuming import changed_setting

    if not (run / "summary.json").is_file():
        return
    wanted: RunConfig = parse(RunConfig, complete(config, distils=False), where=run.name)
    found: RunConfig = parse(RunConfig, read_yaml(run / "config.yaml"), where=str(run))
    trees = [one.model_dump(mode="json", exclude={"device"}) for one in (found, wanted)]
    changed = changed_setting(*trees)
    if changed is not None:
        sys.exit(f"{str(run)!r} was trained with another {changed!r}: pass a fresh --work")


def _measures(work: Path, device: str) -> list[Step]:
    """The teacher by both protocols, and what the ImageNet weights rank before anything is learned."""
    from understudy.data.manifest import read_manifest

    protocols = ["reid"]
    if len(read_manifest(work / DATA).rows("multi_query")):
        protocols.append("reid_multi")
    measured = [("teacher-clean", "teacher", protocol) for protocol in protocols]
    measured += [
        (f"untrained/{path.name}", path.name, "reid") for path in sorted((work / "untrained").iterdir())
    ]
    return [
        _step(
            f"evaluate {model} {DATA} --protocol {protocol} --full --device {device} "
            f"-o measured/{name}-{protocol}.json",
            f"measured/{name}-{protocol}.json",
        )
        for model, name, protocol in measured
    ]


def _store_untrained(work: Path, *, quick: bool) -> None:
    """The pooled features of both backbones, from ImageNet and from random weights, as saved models."""
    from understudy.models import build_embedder, save_artefact

    for name, config in (("teacher", TEACHER), ("student", STUDENT)):
        bare = {**_small(config, quick)["student"], "dim": None, "neck": None}
        for start, weights in (("imagenet", bare["weights"]), ("random", None)):
            place = work / "untrained" / f"{name}-{start}"
            if not place.exists():
                torch.manual_seed(0)
                file = None if weights is None else str(work / weights)
                save_artefact(build_embedder({**bare, "weights": file}), place)


def _prepare(arguments: argparse.Namespace) -> Step:
    if arguments.data is None:
        sys.exit("there is no prepared data yet: pass --data, the folder of Market-1501")
    partial = " --partial" if arguments.quick else ""
    words = f"-o {DATA} --pack {PACK} --workers {max(1, arguments.jobs // 2)}{partial}"
    return Step(PART, ("prepare", "market1501", str(arguments.data), *words.split()), DATA)


def _link_weights(arguments: argparse.Namespace) -> None:
    """Links to the weights, so that no configuration holds a path of this machine."""
    for name in (TEACHER_WEIGHTS, STUDENT_WEIGHTS):
        link = arguments.work / name
        if link.exists():
            continue
        if arguments.weights is None or not (arguments.weights / name).is_file():
            sys.exit(f"there are no weights {name}: pass --weights, the folder that holds them")
        link.unlink(missing_ok=True)
        link.symlink_to(arguments.weights / name)


def _small(config: dict[str, Any], quick: bool) -> dict[str, Any]:
    return quick_run(config) if quick else config


def _devices(device: str) -> list[str]:
    """The devices that commands are spread over."""
    if device != "auto":
        return [device]
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or ["cpu"]


def _step(words: str, done: str) -> Step:
    return Step(PART, tuple(words.split()), done)
