"""What S2SD with four heads adds to a training step: the heads, and the criteria on them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import torch
from _losses_table import Line
from _throughput_bare import Bare, rates
from _throughput_loop import build, on_labels, train
from _throughput_setting import DIM, Setting, noise
from _throughput_sheet import Group, Work
from torch import Tensor

from understudy.losses import MultiSimilarity
from understudy.training.objective.s2sd import S2SDTerm
from understudy.training.objective.terms import Term

HEADS = (512, 1024, 1536, 2048)


class Heads(S2SDTerm):
    """The base loss, and S2SD's own heads with no criterion on them: computed, differentiated and updated."""

    def __init__(self, pooled_dim: int, dims: Sequence[int]) -> None:
        super().__init__(lambda _: MultiSimilarity(), "msd", dims, base_dim=DIM, pooled_dim=pooled_dim)

    def _objective(
        self,
        bases: Sequence[Tensor],
        auxiliaries: Sequence[Tensor],
        pooled: Tensor | None,  # noqa: ARG002 (the signature of S2SD's)
        labels: Tensor,
        draws: Sequence[Mapping[str, torch.Generator]],
    ) -> Tensor:
        value: Tensor = self.criteria[0](bases[0], labels, **draws[0])
        return value + 0 * torch.stack([rows.sum() for rows in auxiliaries]).sum()


def s2sd_group(setting: Setting, dims: Sequence[int] = HEADS) -> Group:
    """The step of the base loss, with four heads, and with all of S2SD."""
    pooled = setting.embedder(setting.student).pooled_dim
    guesses: list[float] = []
    base = Line(f"{setting.name}: step of multi-similarity")
    heads = Line(f"{setting.name}: {len(dims)} heads without criteria")

    def milliseconds(term: Term) -> dict[str, float]:
        if not guesses:
            bare = Bare(setting)
            guesses.extend(rates(bare.step(bare.ways[-1]), setting.batch, setting, 1))
        found, memory = train(setting, noise(setting), build(setting, [term], {}), guesses[0])
        return {"ms a step": 1e3 * setting.batch / statistics.median(found), "GB at most": memory}

    def whole(variant: str) -> dict[str, float]:
        term = S2SDTerm(
            lambda _: MultiSimilarity(),
            variant,  # type: ignore[arg-type]
            dims,
            base_dim=DIM,
            pooled_dim=pooled,
            delay=0,
        )
        figures = milliseconds(term)
        least, most = base.figures["ms a step"], figures["ms a step"]
        beside = heads.figures["ms a step"]
        return {
            "more than the base": (most - least) / least,
            **figures,
            "ms for the heads": beside - least,
            "ms for the criteria": most - beside,
        }

    def lines() -> list[tuple[Line, Work]]:
        return [
            (base, lambda _: milliseconds(on_labels())),
            (heads, lambda _: milliseconds(Heads(pooled, dims))),
            *(
                (
                    Line(
                        f"{setting.name}: S2SD, {len(dims)} heads, {variant.upper()}",
                        "≤ 0.1 of the base",
                        0.1,
                    ),
                    lambda _, variant=variant: whole(variant),
                )
                for variant in ("msd", "msdf")
            ),
        ]

    return Group(f"{setting.name}, S2SD", lines)
