"""What it takes to measure again and get the same figures."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from understudy._version import __version__
from understudy.data import Manifest
from understudy.data.protocol import Protocol
from understudy.evaluation.plans import Plan


def provenance(plan: Plan, device: torch.device, unreadable: np.ndarray) -> dict[str, Any]:
    """The versions, the device and the data of an evaluation, and the rows that could not be read."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    data: dict[str, Any] = {
        "name": plan.dataset.name,
        "sha256": manifest_hash(plan.manifest),
        "queries": len(plan.query),
        "gallery": len(plan.gallery),
    }
    if plan.protocol == "revisited" and plan.dataset.protocol is not None:
        data["pairs_sha256"] = pairs_hash(plan.dataset.protocol)
    if len(unreadable):
        data["unreadable"] = [plan.manifest.ids[row] for row in unreadable.tolist()]
    return {
        "understudy": __version__,
        "torch": torch.__version__,
        "device": name,
        "data": data,
    }


def manifest_hash(manifest: Manifest) -> str:
    """A hash of a manifest's items: their ids, labels, splits, cameras and boxes, wherever they lie.

    Example:
        >>> one, other = (Manifest.of_paths(".", ["1.png"], labels=[label]) for label in ("a", "b"))
        >>> manifest_hash(one) == manifest_hash(Manifest.of_paths("elsewhere", ["1.png"], labels=["a"]))
        True
        >>> manifest_hash(one) == manifest_hash(other)
        False
    """
    digest = hashlib.sha256()
    for column in (manifest.ids, manifest.labels, manifest.splits, manifest.cameras):
        digest.update(repr(column).encode())
    if manifest.boxes is not None:
        digest.update(np.ascontiguousarray(manifest.boxes, dtype=np.int64).tobytes())
    return digest.hexdigest()


def pairs_hash(protocol: Protocol) -> str:
    """A hash of a ground truth's pairs, in whatever order they are listed.

    Example:
        >>> pairs = [("q", "a", "easy"), ("q", "b", "junk")]
        >>> pairs_hash(Protocol.of(pairs)) == pairs_hash(Protocol.of(pairs[::-1]))
        True
    """
    columns = (protocol.query_ids, protocol.gallery_ids, protocol.relevance)
    listed = sorted(zip(*(column.tolist() for column in columns), strict=True))
    return hashlib.sha256(repr(listed).encode()).hexdigest()
