"""Writes docs/losses.md from the registry and from what benchmarks/losses.py measured.

    python docs/write_losses.py [--check]

`--check` writes nothing and fails when the page is out of date; the test suite runs it.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import textwrap
from pathlib import Path

import understudy.losses as package
from understudy.losses import LOSSES, build_loss, default_weight
from understudy.losses.pml import unsuitable
from understudy.losses.registry import LossEntry

HERE = Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"

HEAD = """# Losses

Written by `docs/write_losses.py` from the registry `understudy.losses.LOSSES`. A loss is named in a
configuration (`losses: [{name: hard_darkrank, weight: 0.03, args: {alpha: 3}}]`) or built in Python
(`HardDarkRank(alpha=3.0)(student, teacher)`); its docstring holds the equation, the source and an example.
The default weight is for batches of 128; it makes a loss pull about as hard as multi-similarity.
"""

DISTILLATION = """
## Against a teacher

| name | what it does | needs | dimensions | default weight |
|---|---|---|---|--:|
"""

ALPHA = """
### α without tuning

`args: {alpha: auto}` reads the sharpness α of DarkRank's score −α·d^β off the teacher, for each batch: the
α at which the teacher's choice of the first of a list has, on average, the share `target_entropy` of the
entropy of a blind choice (`understudy.losses.alpha_from_teacher`; the same α scores the student). A share
near 0 asks which candidate is nearest, one near 1 asks for all distances alike. The share means the same
for another β and for a teacher of another scale. In short lists the default asks for a far larger α than
the paper's, so the loss is multiplied by 9/(α·β): its pull on the distances, and the weight that suits it,
stay what they are at α = β = 3. On the typefaces the default, 0.5, did as well as a tuned α with β = 3 and
[worse with β = 1](typefaces.md#must-α-be-tuned).
"""

SUPERVISED = """
## On labels

{rows}

| name | what it does | on | default weight |
|---|---|---|--:|
"""


def page() -> str:
    """The whole page."""
    distillation = "".join(_distillation(name, e) for name, e in LOSSES.items() if not e.supervised)
    supervised = "".join(_supervised(name, e) for name, e in LOSSES.items() if e.supervised)
    text = HEAD + DISTILLATION + distillation + ALPHA + _on_labels() + supervised
    for device, title in (("cuda", "What they cost on a GPU"), ("cpu", "What they cost on a processor")):
        file = RESULTS / f"losses-{device}.md"
        if file.exists():
            lines = file.read_text(encoding="utf-8").splitlines()
            text += (
                f"\n## {title}\n\n" + "\n".join(_lowered(line) for line in lines if line[:2] != "# ").strip()
            )
            text += "\n"
    return text


def _on_labels() -> str:
    """The head of the losses on labels, with what of pytorch-metric-learning cannot be used."""
    *others, last = (f"`{name}` ({why})" for name, why in unsuitable().items())
    text = (
        "Rows without a label (a negative one) take no part. Every other class of pytorch-metric-learning "
        f"works as `pml:CLASS`, except {', '.join(others)} and {last}."
    )
    return SUPERVISED.format(rows=textwrap.fill(text, 110))


def _distillation(name: str, entry: LossEntry) -> str:
    dims = "equal, or a projection is made" if entry.equal_dims else "may differ"
    if entry.inputs[0] != "embedding":
        dims = "–"
    return f"| `{name}` | {_summary(name, entry)} | {entry.inputs[0]} | {dims} | {_weight(name)} |\n"


def _supervised(name: str, entry: LossEntry) -> str:
    return f"| `{name}` | {_summary(name, entry)} | {entry.inputs[0]} | {_weight(name)} |\n"


def _summary(name: str, entry: LossEntry) -> str:
    documented = getattr(package, name, None)
    described = documented if inspect.isfunction(documented) else entry.cls
    first = (inspect.getdoc(described) or "").splitlines()[0]
    return re.sub(r":\w+:`([^`]*)`", r"`\1`", first).replace("|", "\\|").rstrip(".")


def _weight(name: str) -> str:
    loss = build_loss(name, num_classes=10, dim=16, student_channels=8, teacher_channels=8)
    return f"{default_weight(name, loss, batch_size=128):.3g}"


def _lowered(line: str) -> str:
    return f"#{line}" if line.startswith("#") else line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="fail when the page is out of date")
    target = HERE / "losses.md"
    text = page()
    if parser.parse_args().check:
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            sys.exit("docs/losses.md is out of date: run python docs/write_losses.py")
        return
    target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
