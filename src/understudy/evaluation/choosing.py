"""The protocol that suits a data set, and the rows it looks at."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from understudy.data import Dataset
from understudy.errors import UserError, unknown
from understudy.evaluation.plans import Plan

ProtocolName = Literal[
    "auto", "metric_learning", "query_gallery", "reid", "reid_multi", "single_shot", "revisited"
]
PROTOCOLS: tuple[str, ...] = get_args(ProtocolName)


def plan(dataset: Dataset, protocol: str = "auto", split: str | None = None) -> Plan:
    """Chooses the protocol and the rows.

    ``auto``: a ground truth of pairs beside the manifest: revisited; splits ``query`` and ``gallery``: re-id
    where all their images have a camera, else query_gallery; anything else, or where a split is named:
    metric_learning.

    Args:
        dataset: The data.
        protocol: One of `PROTOCOLS`.
        split: The split whose images are queries and gallery at once; none: ``test`` where there is one, else
            every row.

    Raises:
        UserError: There is no such protocol, or the data has not what it needs.
    """
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    manifest = dataset.manifest
    query, gallery, shots = (manifest.rows(name) for name in ("query", "gallery", "multi_query"))
    if protocol == "auto":
        protocol = _fitting(dataset, query, gallery) if split is None else "metric_learning"
    if protocol == "metric_learning":
        if split is not None:
            rows = manifest.rows(split)
            if not len(rows):
                raise UserError(
                    f"{dataset.name!r} has no images in the split {split!r}: pass another --split"
                )
        else:
            rows = manifest.rows("test")
            split = "test" if len(rows) else None
            rows = rows if len(rows) else np.arange(len(manifest))
        return Plan(protocol, dataset, split, rows, rows, rows[:0])
    if split is not None:
        raise UserError(
            f"the protocol {protocol} looks at the splits 'query' and 'gallery': leave --split out, or "
            "choose the protocol metric_learning"
        )
    _check(dataset, protocol)
    return Plan(protocol, dataset, None, query, gallery, shots if protocol == "reid_multi" else shots[:0])


def _check(dataset: Dataset, protocol: str) -> None:
    """Refuses data that has not what a protocol of queries and a gallery needs."""
    manifest, name = dataset.manifest, repr(dataset.name)
    for split in ("query", "gallery"):
        if not len(manifest.rows(split)):
            raise UserError(
                f"{name} has no images in the split {split!r}, which the protocol {protocol} needs: choose "
                "the protocol metric_learning, or other data"
            )
    if protocol == "revisited" and dataset.protocol is None:
        raise UserError(
            f"{name} has no ground truth of pairs, which the protocol revisited needs: prepare roxford5k or "
            "rparis6k, or choose another protocol"
        )
    if protocol in ("reid", "reid_multi", "single_shot") and manifest.cameras is None:
        raise UserError(
            f"{name} has no cameras, which the protocol {protocol} needs: add the column 'camera', or choose "
            "the protocol query_gallery"
        )
    if protocol == "reid_multi" and not len(manifest.rows("multi_query")):
        raise UserError(
            f"{name} has no images in the split 'multi_query', which the protocol reid_multi averages: "
            "choose the protocol reid, or prepare the data with its multi-query images"
        )


def _fitting(dataset: Dataset, query: np.ndarray, gallery: np.ndarray) -> str:
    if not len(query) or not len(gallery):
        return "metric_learning"
    if dataset.protocol is not None:
        return "revisited"
    cameras = dataset.manifest.camera_codes()
    if cameras is not None and bool((cameras[np.concatenate([query, gallery])] >= 0).all()):
        return "reid"
    return "query_gallery"
