"""What DarkRank (Chen, Wang, Zhang, AAAI 2018) printed for Market-1501, in percent."""

from __future__ import annotations

from _darkrank_studies import (
    ALONE,
    DIRECT,
    FITNET,
    FITNET_HARD,
    FITNET_SOFT,
    HARD,
    HARD_CODE,
    KD,
    KD_HARD,
    KD_SOFT,
    SOFT,
    SOFT_4,
    SOFT_4_CODE,
    SOFT_16,
    SOFT_ALL,
    TEACHER,
)

COLUMNS = ("map", "cmc@1", "multi/map", "multi/cmc@1")
"""Single-query mAP and rank-1, and the same for several images of the query together."""

_PRINTED: dict[str, tuple[float, float, float, float]] = {
    "Student": (58.1, 80.3, 66.7, 86.7),
    "Direct Match": (58.5, 80.3, 68.0, 86.7),
    "Hard DarkRank": (63.5, 83.0, 71.2, 87.4),
    "Soft DarkRank": (63.1, 83.6, 71.4, 88.8),
    "KD": (66.7, 86.0, 75.1, 90.4),
    "KD + Hard": (68.5, 86.6, 76.3, 90.3),
    "KD + Soft": (68.2, 86.7, 76.4, 91.4),
    "Teacher": (74.3, 89.8, 81.2, 93.7),
    "FitNet": (64.0, 83.4, 72.4, 88.6),
    "FitNet + DarkRank": (67.3, 85.3, 74.9, 90.3),
}

_ROWS = {
    ALONE: "Student",
    DIRECT: "Direct Match",
    HARD: "Hard DarkRank",
    HARD_CODE: "Hard DarkRank",
    SOFT_4: "Soft DarkRank",
    SOFT_4_CODE: "Soft DarkRank",
    SOFT: "Soft DarkRank",
    SOFT_16: "Soft DarkRank",
    SOFT_ALL: "Soft DarkRank",
    KD: "KD",
    KD_HARD: "KD + Hard",
    KD_SOFT: "KD + Soft",
    FITNET: "FitNet",
    FITNET_HARD: "FitNet + DarkRank",
    FITNET_SOFT: "FitNet + DarkRank",
    TEACHER: "Teacher",
}

_WITHOUT_LABELS = ("Teacher", "FitNet", "FitNet + DarkRank")
"""What Table 3 prints."""

SPEED = {"NIN-BN (student)": (7.6, 526), "Inception-BN (teacher)": (10.3, 178)}
"""Table 5: parameters in millions, images a second on a Titan X."""


def printed(part: str) -> dict[str, tuple[float, float, float, float]]:
    """The rows of the paper's table that a part repeats, by the paper's names for them.

    Example:
        >>> list(printed("table3")), printed("curves")
        (['Teacher', 'FitNet', 'FitNet + DarkRank'], {})
    """
    names = {"teacher": ("Teacher",), "table1": tuple(_PRINTED), "table3": _WITHOUT_LABELS}
    return {name: _PRINTED[name] for name in names.get(part, ())}


def published(row: str, part: str = "table1") -> dict[str, float]:
    """The figures that were printed for a row of ours; nothing where the paper has no such row.

    Without labels it has only FitNet and FitNet with DarkRank, beside the teacher.

    Example:
        >>> published("KD")["map"], published("KD", "table3"), published("PKT")
        (66.7, {}, {})
    """
    name = _ROWS.get(row)
    if part == "table3" and name not in _WITHOUT_LABELS:
        name = None
    return {} if name is None else dict(zip(COLUMNS, _PRINTED[name], strict=True))
