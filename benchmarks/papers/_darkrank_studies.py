"""The studies of the DarkRank bench: their rows, what each row tries, and which rows are compared."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import _market1501_settings as market
from _darkrank_losses import (
    CODE,
    Settings,
    direct_match,
    fitnet,
    grid,
    hard,
    kd,
    loss,
    soft,
    stronger,
    two_digits,
)

ALONE, TWICE = "student alone", "student alone, twice the epochs"
HARD, SOFT = "hard DarkRank", "soft DarkRank, list of 8"
HARD_CODE = "hard DarkRank, α 12.25 and β 4"
SOFT_4, SOFT_4_CODE = "soft DarkRank, list of 4", "soft DarkRank, list of 4, α 12.25 and β 4"
SOFT_16, SOFT_ALL = "soft DarkRank, list of 16", "soft DarkRank, whole batch, sampled"
DIRECT, KD, FITNET, TEACHER = "direct match", "KD", "FitNet", "teacher"
KD_HARD, KD_SOFT = "KD + hard DarkRank", "KD + soft DarkRank"
FITNET_HARD, FITNET_SOFT = "FitNet + hard DarkRank", "FitNet + soft DarkRank"
SCRATCH = ", from scratch"

FIGURES = (
    "map",
    "cmc@1",
    "multi/map",
    "multi/cmc@1",
    "asymmetric/map",
    "asymmetric/cmc@1",
    "neighbour_overlap@10",
)

TABLE1_TESTS = (
    *((ALONE, name) for name in (DIRECT, HARD, SOFT_4_CODE, SOFT, SOFT_16, SOFT_ALL, KD, FITNET)),
    (KD, KD_HARD),
    (KD, KD_SOFT),
    (FITNET, FITNET_SOFT),
    (HARD, SOFT),
    (KD_HARD, KD_SOFT),
    (ALONE, TWICE),
    *((ALONE, name) for name in (HARD_CODE, SOFT_4)),
    (FITNET, FITNET_HARD),
    (HARD, HARD_CODE),
    (SOFT_4, SOFT_4_CODE),
    (SOFT_4, SOFT),
    *((ALONE + SCRATCH, name + SCRATCH) for name in (HARD, SOFT, KD)),
    (KD + SCRATCH, KD_SOFT + SCRATCH),
)
TABLE3_TESTS = ((FITNET, FITNET_HARD), (FITNET, FITNET_SOFT), (HARD, SOFT))
"""Rows that are compared seed by seed, the second expected ahead."""

BEYOND = (
    "relative teacher",
    "absolute teacher",
    "RKD, distances and angles",
    "PKT",
    "similarity KL",
    "relaxed contrastive",
    "similarity preserving",
    "KD + similarity KL",
    "KD + absolute teacher",
    "absolute teacher + similarity KL",
    "absolute teacher + soft DarkRank",
)
BEYOND_TESTS = (
    *((ALONE, name) for name in BEYOND),
    *(
        (SOFT if part == "soft DarkRank" else part, name)
        for name in BEYOND
        if " + " in name
        for part in name.split(" + ")
    ),
)
"""Every combination against each of its parts, too."""

ALPHAS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.25)
BETAS = (1.0, 2.0, 3.0, 4.0, 5.0)
FACTORS = (0.04, 0.2, 1.0, 5.0, 25.0)
SOFT_LENGTHS = (4, 8, 12, 16, None)
HARD_LENGTHS = (4, 8, 16, 32, 64, None)
ENTROPIES = (0.5, 0.65, 0.8, 0.9, 0.97)
"""Where Figure 3 looks; a weight's factor is of the middle one of Table 1."""

USUAL = "usual"
USUAL_LENGTH = {"soft": 8, "hard": None}
"""The row that lies on all four curves: α = β = 3, the middle weight, and this list."""


def studies() -> dict[str, Settings]:
    """All studies by the name of their recipe."""
    return {
        "market1501-curves": curves(),
        "market1501-table1": table1(),
        "market1501-table1-more": table1_more(),
        "market1501-table3": table3(),
        "market1501-figure3-soft": figure3("soft"),
        "market1501-figure3-hard": figure3("hard"),
        "market1501-beyond": beyond(),
        "market1501-table5": table5(),
    }


def curves() -> Settings:
    """The student alone: learning rates, and epochs, with its figures along the way; one row is of both."""
    rates = [
        {
            "name": f"learning rate {rate:.2g}" + f", {market.EPOCHS} epochs" * (rate == market.RATE),
            "config": {"optim": {"lr": rate}, **_along(market.EPOCHS)},
        }
        for rate in map(two_digits, (market.RATE / 10, *market.RATES, 10 * market.RATE))
    ]
    lengths = [
        {"name": f"{epochs} epochs", "config": _along(epochs)}
        for epochs in (market.EPOCHS // 4, market.EPOCHS // 2, 2 * market.EPOCHS)
    ]
    about = (
        "The student alone on the validation identities of Market-1501, learning on the others: which "
        f"learning rate ({market.EPOCHS} epochs each), and how many epochs (at {market.RATE:g})."
    )
    return _study("curves", about, [*rates, *lengths], seeds=market.VAL_SEEDS, validation=True)


def table1() -> Settings:
    """The methods of the paper's tables, with labels, measured by the data set's own protocol."""
    rows = [
        _teacher(),
        _row(ALONE, _rates()),
        _row(DIRECT, grid([direct_match()])),
        _row(HARD, grid([hard()])),
        _row(SOFT_4_CODE, grid([soft(4, CODE)])),
        _row(SOFT, grid([soft(8)])),
        _row(SOFT_16, grid([soft(16)])),
        _row(SOFT_ALL, grid([soft(None)])),
        _row(KD, grid([kd()])),
        _row(KD_HARD, grid([hard()], [kd()])),
        _row(KD_SOFT, grid([soft(8)], [kd()])),
        _row(FITNET, grid([fitnet()])),
        _row(FITNET_SOFT, grid([soft(8)], [fitnet()])),
    ]
    about = (
        "Table 1 of DarkRank on Market-1501 by its own protocol. Every row has the same epochs; the settings "
        "of each were chosen among three on identities set aside, in a third of the epochs."
    )
    return _study("table1", about, rows, tests=TABLE1_TESTS)


def table1_more() -> Settings:
    """Twice the epochs, the other preset of each variant, and students from random weights."""
    rows = [
        _teacher(),
        _row(TWICE, _rates(), epochs=2 * market.EPOCHS),
        _row(HARD_CODE, grid([hard(score=CODE)])),
        _row(SOFT_4, grid([soft(4)])),
        _row(FITNET_HARD, grid([hard()], [fitnet()])),
        *(
            _row(name + SCRATCH, candidates, student={"weights": None})
            for name, candidates in (
                (ALONE, _rates()),
                (HARD, grid([hard()])),
                (SOFT, grid([soft(8)])),
                (KD, grid([kd()])),
                (KD_SOFT, grid([soft(8)], [kd()])),
            )
        ),
    ]
    about = (
        "More rows of DarkRank's Table 1: twice the epochs, the settings of the published code or of the "
        "paper where Table 1 has the other, and students from random weights."
    )
    return _study("table1-more", about, rows, tests=TABLE1_TESTS)


def table3() -> Settings:
    """FitNet with and without DarkRank, and DarkRank alone, without any label.

    Without labels the rates that suit the student alone are too high, and the weight of a loss that stands
    alone says nothing to AdamW: every row chooses its learning rate. DarkRank has the largest weight of Table
    1's, a fifth of the published one, for nothing but FitNet is in its way.
    """
    labels: Settings = {"supervised": [], "data": {"label_fraction": 0.0}}
    pairs = [
        (FITNET, [fitnet()]),
        (FITNET_HARD, [fitnet(), stronger(hard())]),
        (FITNET_SOFT, [fitnet(), stronger(soft(8))]),
        (HARD, [stronger(hard())]),
        (SOFT, [stronger(soft(8))]),
    ]
    about = "Table 3 of DarkRank as its title says: FitNet with and without DarkRank, and not one label."
    rates = market.RATES_WITHOUT_LABELS
    rows = [_teacher(), *(_row(name, _rates(*losses, rates=rates), **labels) for name, losses in pairs)]
    return _study("table3", about, rows, tests=TABLE3_TESTS)


def figure3(kind: str) -> Settings:
    """One setting of DarkRank at a time, the others as in the paper, on the validation identities."""
    make, lengths = (soft, SOFT_LENGTHS) if kind == "soft" else (hard, HARD_LENGTHS)
    usual = make(USUAL_LENGTH[kind])
    rows = [
        _weighed(USUAL, usual, 1.0),
        *(_point(f"alpha {value:g}", usual, alpha=value) for value in ALPHAS if value != 3),
        *(_point(f"beta {value:g}", usual, beta=value) for value in BETAS if value != 3),
        *(_weighed(f"weight x {factor:g}", usual, factor) for factor in FACTORS if factor != 1),
        *(_weighed(f"list {n or 'whole'}", make(n), 1.0) for n in lengths if n != USUAL_LENGTH[kind]),
        *(
            _point(f"beta {beta:g}, entropy {share:g}", usual, alpha="auto", target_entropy=share, beta=beta)
            for beta in (3.0, 1.0)
            for share in ENTROPIES
        ),
    ]
    about = (
        f"Figure 3 of DarkRank, {kind}: one setting varies, the others are α = 3, β = 3, "
        f"{'lists of 8' if kind == 'soft' else 'the whole batch'} and the middle weight of Table 1. Measured "
        f"on identities set aside, after {market.TRIAL_EPOCHS} epochs on the others. Lists of another length "
        "have the weight that keeps its product with log L! the same. Under entropy, α is read off the "
        "teacher: such that its first choice has this share of the entropy of a blind one."
    )
    base: Settings = {"epochs": market.TRIAL_EPOCHS}
    return _study(f"figure3-{kind}", about, rows, seeds=market.VAL_SEEDS, validation=True, base=base)


def points(kind: str, row: str) -> list[tuple[str, str]]:
    """What a row of Figure 3 varies, and to which value; the usual one lies on every curve.

    Example:
        >>> points("hard", "alpha 5"), points("soft", USUAL)
        ([('alpha', '5')], [('alpha', '3'), ('beta', '3'), ('weight x', '1'), ('list', '8')])
    """
    if row == USUAL:
        values = ("3", "3", "1", str(USUAL_LENGTH[kind] or "whole"))
        return list(zip(("alpha", "beta", "weight x", "list"), values, strict=True))
    varied, _, value = row.rpartition(" ")
    return [(varied, value)]


def beyond() -> Settings:
    """Other losses under the rules of Table 1, and combinations of the best."""
    similarity = loss("similarity_kl", 20.0, temperature=0.1)
    absolute = loss("absolute_teacher", 5.0)
    losses: list[tuple[list[Settings], list[Settings]]] = [
        ([loss("relative_teacher", 10.0)], []),
        ([absolute], []),
        ([loss("rkd_distance", 25.0), loss("rkd_angle", 50.0)], []),
        ([loss("pkt", 50.0)], []),
        ([similarity], []),
        ([loss("relaxed_contrastive", 0.5)], []),
        ([loss("similarity_preserving", 100.0)], []),
        ([similarity], [kd()]),
        ([absolute], [kd()]),
        ([similarity], [absolute]),
        ([soft(8)], [absolute]),
    ]
    pairs = zip(BEYOND, losses, strict=True)
    rows = [_teacher(), *(_row(name, grid(varied, beside)) for name, (varied, beside) in pairs)]
    about = (
        "Losses that DarkRank's paper does not know, under the same rules as its Table 1: the same epochs, "
        "three weights each, chosen on identities set aside in a third of the epochs."
    )
    return _study("beyond", about, rows)


def table5() -> Settings:
    """Students of several sizes, alone and taught, beside their teacher."""
    taught = [{**one, "weight": two_digits(one["weight"])} for one in (kd(), soft(8))]
    rows = [_teacher()]
    for name, student in market.SIZES.items():
        rows += [
            {"name": f"{name}, alone", "config": {"student": student}},
            {"name": f"{name}, {KD_SOFT}", "config": {"student": student, "losses": taught}},
        ]
    about = "Table 5 of DarkRank on Market-1501: what students of several sizes cost, and how well they rank."
    return _study("table5", about, rows)


def _study(
    name: str,
    about: str,
    rows: Iterable[Settings],
    *,
    tests: Iterable[tuple[str, str]] = (),
    seeds: int = market.SEEDS,
    validation: bool = False,
    base: Settings | None = None,
) -> Settings:
    from understudy.config import merge

    shared = merge(market.STUDENT, {"teachers": market.VAL_TEACHERS if validation else market.FINAL_TEACHERS})
    shared = merge(shared, market.ON_VALIDATION if validation else {})
    figures = [figure for figure in FIGURES if not (validation and figure.startswith("multi/"))]
    listed = list(rows)
    names = {row["name"] for row in listed}
    value: Settings = {
        "name": f"market1501-{name}",
        "about": about,
        "base": merge(shared, base or {}),
        "seeds": seeds,
        "metrics": figures,
        "rows": listed,
        "tests": [list(pair) for pair in tests if names.issuperset(pair)],
    }
    return copy.deepcopy(value)


def _teacher() -> Settings:
    """The teacher's own row: the network has a size and a speed, its table the figures."""
    network = {"reference": "teacher/model", "clean": market.FINAL_TEACHERS["main"]["clean"]}
    return {"name": TEACHER, "teacher": "network", "config": {"teachers": {"network": network}}}


def _row(name: str, candidates: list[Settings], **config: Any) -> Settings:
    choose = {"metric": "map", "overrides": _trial(config), "among": candidates}
    return {"name": name, **({"config": config} if config else {}), "choose": choose}


def _trial(config: Settings) -> Settings:
    """A third of the row's own epochs, on the validation identities' terms."""
    epochs = config.get("epochs", market.EPOCHS) * market.TRIAL_EPOCHS // market.EPOCHS
    return {**market.TRIAL, "epochs": epochs}


def _rates(*losses: Settings, rates: Iterable[float] = market.RATES) -> list[Settings]:
    return [
        {
            "optim": {"lr": two_digits(rate)},
            **(
                {"losses": [{**one, "weight": two_digits(one["weight"])} for one in losses]} if losses else {}
            ),
        }
        for rate in rates
    ]


def _along(epochs: int) -> Settings:
    return {"epochs": epochs, "evaluation": {"every": market.evaluation_steps(epochs)}}


def _point(name: str, usual: Settings, **args: float | str) -> Settings:
    return {"name": name, "config": {"losses": [{**usual, "args": {**usual["args"], **args}}]}}


def _weighed(name: str, usual: Settings, factor: float) -> Settings:
    return {"name": name, "config": {"losses": [{**usual, "weight": two_digits(factor * usual["weight"])}]}}
