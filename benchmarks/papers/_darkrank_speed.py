"""How fast the networks of a study embed, on the processor and on a GPU, measured once each and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.config import RunConfig, parse, read_yaml
from understudy.files import write_json
from understudy.models import build_embedder
from understudy.models.config import EmbedderConfig
from understudy.models.speed import images_per_second
from understudy.study.config import slug
from understudy.training.device import hardware


def speeds_of(work: Path, study: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Images a second by row, for every kind of device of this machine; the teacher is the row without seeds.

    Networks are built anew, for what they have learnt makes none of them faster, and each is measured once.
    """
    file = work / study / "speeds.json"
    if not file.is_file():
        networks = {row["name"]: _network(work, study, row) for row in rows}
        kinds = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
        write_json(file, [_measured(networks, torch.device(kind)) for kind in kinds])
    value: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return value


def _measured(networks: Mapping[str, EmbedderConfig], device: torch.device) -> dict[str, Any]:
    known: dict[EmbedderConfig, float] = {}
    for network in networks.values():
        if network not in known:
            known[network] = images_per_second(build_embedder(network).to(device))
    return {
        "device": {"cuda": "GPU", "cpu": "CPU"}[device.type],
        "hardware": hardware(device),
        "images_per_second": {name: round(known[network], 1) for name, network in networks.items()},
    }


def _network(work: Path, study: str, row: Mapping[str, Any]) -> EmbedderConfig:
    """The network of a row, from the configuration of its run, without its weights."""
    run = work / "teacher"
    if row["seeds"]:
        run = work / study / "runs" / slug(row["name"]) / f"seed-{row['seeds'][0]}"
    config: RunConfig = parse(RunConfig, read_yaml(run / "config.yaml"), where=str(run))
    return config.student.model_copy(update={"weights": None})
