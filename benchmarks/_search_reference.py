"""Market-1501's protocol in the straightforward NumPy form that re-identification toolkits use."""

from __future__ import annotations

import numpy as np
from _search_data import Reid


def straightforward(data: Reid, cuts: tuple[int, ...], *, vectorised: bool) -> dict[str, float]:
    """CMC and mAP by a whole distance matrix, a full sort of every row and a loop over the queries.

    The toolkits (torchreid and those after it) divide the hits by their ranks in a list comprehension;
    ``vectorised`` does that in NumPy too.
    """
    query, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (data.query, data.gallery))
    distances = 1 - query @ gallery.T
    order = np.argsort(distances, axis=1)
    matches = data.gallery_ids[order] == data.query_ids[:, None]
    curves, precisions, penalties = [], [], []
    for number in range(len(query)):
        ranking = order[number]
        junk = (data.gallery_ids[ranking] == data.query_ids[number]) & (
            data.gallery_cameras[ranking] == data.query_cameras[number]
        )
        right = matches[number][~junk].astype(np.int32)
        if not right.any():
            continue
        curve = right.cumsum()
        curve[curve > 1] = 1
        curves.append(curve[: max(cuts)])
        found = right.sum()
        if vectorised:
            hits = right.cumsum() / (np.arange(len(right)) + 1.0)
        else:
            hits = np.asarray([x / (i + 1.0) for i, x in enumerate(right.cumsum())])
        precisions.append((hits * right).sum() / found)
        penalties.append(found / (np.flatnonzero(right)[-1] + 1.0))
    mean = np.asarray(curves, dtype=np.float64).mean(0)
    return {
        **{f"cmc@{k}": float(mean[k - 1]) for k in cuts},
        "map": float(np.mean(precisions)),
        "minp": float(np.mean(penalties)),
    }
