"""The rows of the black-box bench as studies: methods by share of the images, losses by their space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from _blackbox_settings import Setting

from understudy.config import merge
from understudy.losses import LOSSES

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 1.0)
TUNED = 0.1
"""The share at which every method of the curves chooses its learning rate."""

FEW = 0.1
"""Up to this share few classes have more than two images: labelled batches hold two a class, not four."""

LABELS, RELATIVE, MIXED = "labels alone", "relative", "relative + mixtures"
KNN, KNN_MIXED = "relative, teacher's neighbourhoods", "relative + mixtures, teacher's neighbourhoods"
KL, KL_MIXED = "similarity KL", "similarity KL + mixtures"
RECIPE = "similarity KL + mixtures renormalised (data_efficient)"

SWITCHES: dict[str, dict[str, Any]] = {
    "mixtures renormalised": {"renormalize": True},
    "neighbours mixed": {"pairs": "neighbours"},
    "three mixtures an image": {"mixes": 3.0},
    "coefficients near the ends, Beta(0.4)": {"coefficient": ["beta", 0.4]},
    "only images ask": {"anchors": "original"},
    "parents answer their mixtures": {"exclude_parents": False},
}
"""What is turned, one at a time, on the mixtures of the relative loss."""

PAIRS = ((RELATIVE, MIXED), (KNN, KNN_MIXED), (KL, KL_MIXED), (KL, RECIPE))
"""Each loss without mixtures and with them, all else being equal."""

OTHER_PAIRS = ((LABELS, RELATIVE), (LABELS, KL), (RELATIVE, KNN), (MIXED, KNN_MIXED))
"""What else the curves compare."""

SWITCH_PAIRS = tuple((MIXED, name) for name in SWITCHES)
"""Each switch beside the mixtures as they are by default."""

_SETTINGS_OF = {"soft_darkrank": {"list_length": 8}, "hard_darkrank": {"alpha": 3, "beta": 3}}
_NEIGHBOURHOODS = {"sampler": {"kind": "teacher_knn"}}


def methods(setting: Setting) -> dict[str, dict[str, Any]]:
    """What the curves compare, by name: settings laid over the base."""
    return {
        LABELS: {"supervised": list(setting.supervised), "losses": [], "sampler": {"kind": "class_balanced"}},
        RELATIVE: _taught("relative_teacher"),
        MIXED: _mixed("relative_teacher"),
        KNN: merge(_taught("relative_teacher"), _NEIGHBOURHOODS),
        KNN_MIXED: merge(_mixed("relative_teacher"), _NEIGHBOURHOODS),
        KL: _taught("similarity_kl"),
        KL_MIXED: _mixed("similarity_kl"),
        RECIPE: _mixed("similarity_kl", renormalize=True),
    }


def switches() -> dict[str, dict[str, Any]]:
    """The mixtures of the relative loss with one switch turned, by name."""
    return {name: _mixed("relative_teacher", **switch) for name, switch in SWITCHES.items()}


def aligned(setting: Setting, teacher_dim: int) -> dict[str, dict[str, Any]]:
    """Every loss on embeddings, to be measured with the student's queries in the teacher's gallery.

    Students have the teacher's dimension, so that a loss may align them or not; the last two keep their own
    dimension and a map into the teacher's space.
    """
    wide = {"student": {"dim": teacher_dim}}
    names = [name for name, loss in LOSSES.items() if not loss.supervised and loss.inputs[0] == "embedding"]
    rows = {name: merge(_taught(name, **_SETTINGS_OF.get(name, {})), wide) for name in names}
    own = setting.base["student"]["dim"]
    for beside in ([], [{"name": "similarity_kl"}]):
        losses = [*beside, {"name": "absolute_teacher"}]
        title = " + ".join(loss["name"] for loss in losses)
        rows[f"{title}, {own} dimensions and a map"] = {
            "supervised": [],
            "losses": losses,
            "compatible": True,
        }
    return rows


Block = tuple[Mapping[str, Mapping[str, Any]], Sequence[float]]
"""Methods by name, and the shares of the images that each of them gets."""


def study(
    name: str, setting: Setting, blocks: Sequence[Block], *, seeds: int, steps: int, device: str, choose: bool
) -> dict[str, Any]:
    """A study of some methods at some shares of the images, as its YAML file says it.

    Args:
        name: What it is called.
        setting: The data set's part.
        blocks: The methods, with a row for each of their shares.
        seeds: How many; each chooses its own images too.
        steps: Of every run, whatever the share.
        device: Where to train.
        choose: Whether every row chooses its learning rate, in a third of the steps.
    """
    base = {
        "data": {"source": setting.source},
        "teachers": {"main": "table:table"},
        "sampler": {"batch_size": 128},
        "schedule": {"name": "cosine", "warmup": 0.1},
        "steps": steps,
        "checkpoint_every": steps,
        "log_every": 100,
        "device": device,
        "evaluation": {"split": setting.split or "val"},
    }
    third = max(1, steps // 3)
    choice = {
        "metric": "map@r",
        "overrides": {"steps": third, "checkpoint_every": third},
        "among": [{"optim": {"lr": rate}} for rate in setting.rates],
    }
    return {
        "name": name,
        "base": merge(base, setting.base),
        "seeds": seeds,
        "redraw": True,
        "metrics": ["map@r"],
        "rows": [{**row, "choose": choice} if choose else row for row in _rows(blocks)],
    }


def row_name(method: str, fraction: float) -> str:
    """What the study calls a method at a share of the images.

    Example:
        >>> row_name("relative", 0.05)
        'relative, 5 %'
    """
    return f"{method}, {100 * fraction:g} %"


def _rows(blocks: Sequence[Block]) -> Iterator[dict[str, Any]]:
    for methods, fractions in blocks:
        for fraction in fractions:
            images = 2 if fraction <= FEW else 4
            share = {"data": {"fraction": fraction}, "sampler": {"images_per_class": images}}
            for method, config in methods.items():
                yield {"name": row_name(method, fraction), "config": merge(config, share)}


def _taught(loss: str, **args: Any) -> dict[str, Any]:
    return {"supervised": [], "losses": [{"name": loss, "args": args}]}


def _mixed(inner: str, **args: Any) -> dict[str, Any]:
    return {"supervised": [], "losses": [{"name": "interpolated", "args": {"loss": inner, **args}}]}
