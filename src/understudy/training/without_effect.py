"""What a configuration says and the run has no use for: no mistake, and worth a sentence at the start."""

from __future__ import annotations

from collections.abc import Sequence

from understudy.config import LossConfig, RunConfig, SupervisedConfig

# (section, key, the key beside it that decides, and the values of that which look at the first)
_DEPENDENT = (
    ("optim", "momentum", "name", ("sgd",)),
    ("optim", "betas", "name", ("adamw",)),
    ("schedule", "floor", "name", ("cosine",)),
    ("schedule", "milestones", "name", ("step",)),
    ("schedule", "gamma", "name", ("step",)),
    ("sampler", "replacement", "kind", ("auto", "class_balanced", "mixed")),
    ("sampler", "teacher", "kind", ("auto", "mixed", "teacher_knn")),
    ("s2sd", "feature_weight", "variant", ("msdf", "msdfa")),
    ("s2sd", "delay", "variant", ("msdf", "msdfa")),
)


def without_effect(config: RunConfig, steps: int) -> list[str]:
    """One sentence for each setting that does nothing in this run.

    A setting with its default value is never named: it may stand there only because a saved configuration
    spells everything out.

    Args:
        config: The run.
        steps: How many steps it takes.

    Example:
        >>> without_effect(RunConfig(optim={"momentum": 0.5}, s2sd={}), steps=800)
        ['optim.momentum does nothing with adamw: it is for sgd', 's2sd.delay 1000 ... 800 steps ...']
    """
    said = [*_dependent(config)]
    s2sd = config.s2sd
    if s2sd is not None and s2sd.variant in ("msdf", "msdfa") and s2sd.feature_weight and s2sd.delay >= steps:
        said.append(
            f"s2sd.delay {s2sd.delay} is not below the {steps} steps of the run, so that the features of "
            f"{s2sd.variant} never teach: lower it, or train longer"
        )
    weighted: dict[str, Sequence[LossConfig | SupervisedConfig]]
    weighted = {"losses": config.losses, "supervised": config.supervised or ()}
    for key, losses in weighted.items():
        said += [
            f"{key}.{place}.warmup {loss.warmup} is longer than the {steps} steps of the run, so that "
            f"{loss.name!r} never has its full weight: lower it, or train longer"
            for place, loss in enumerate(losses)
            if loss.warmup > steps
        ]
    return said


def _dependent(config: RunConfig) -> list[str]:
    said = []
    for name, key, decisive, users in _DEPENDENT:
        section = getattr(config, name)
        if section is None or getattr(section, key) == type(section).model_fields[key].default:
            continue
        if getattr(section, decisive) not in users:
            chosen = getattr(section, decisive)
            said.append(f"{name}.{key} does nothing with {chosen}: it is for {' and '.join(users)}")
    return said
