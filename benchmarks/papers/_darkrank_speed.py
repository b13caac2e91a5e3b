"""How fast the networks of a study embed on the processor, measured once each and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from understudy.files import write_json
from understudy.models import load
from understudy.models.speed import images_per_second
from understudy.study.config import slug
from understudy.training.device import hardware


def cpu_speeds(work: Path, study: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Images a second by row, on all processors of this machine; rows of one network share a figure."""
    file = work / study / "cpu.json"
    if not file.is_file():
        by_size: dict[tuple[int, int], float] = {}
        speeds: dict[str, float] = {}
        for row in rows:
            size = row["parameters"], row["macs"]
            if size not in by_size:
                by_size[size] = images_per_second(load(_model(work, study, row)), batch_size=32)
            speeds[row["name"]] = by_size[size]
        write_json(file, {"hardware": hardware(torch.device("cpu")), "images_per_second": speeds})
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def _model(work: Path, study: str, row: Mapping[str, Any]) -> Path:
    if not row["seeds"]:
        return work / "teacher" / "model"
    return work / study / "runs" / slug(row["name"]) / f"seed-{row['seeds'][0]}" / "model"
