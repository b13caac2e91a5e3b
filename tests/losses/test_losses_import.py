from __future__ import annotations

import json
import subprocess
import sys

import pytest

import understudy.losses

HEAVY = {
    "PIL",
    "matplotlib",
    "pandas",
    "pyarrow",
    "pydantic",
    "pytorch_metric_learning",
    "scipy",
    "sklearn",
    "timm",
    "torchvision",
    "typer",
    "yaml",
}
SCRIPT = """
import json, sys
steps = []
for statement in (
    "import torch",
    "import understudy.losses",
    "understudy.losses.build_loss('interpolated')",
    "understudy.losses.build_loss('pml:AngularLoss')",
):
    before = set(sys.modules)
    exec(statement)
    steps.append(sorted(set(sys.modules) - before))
print(json.dumps(steps))
"""


@pytest.mark.slow
def test_importing_the_losses_imports_little_more_than_torch() -> None:
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    _, ours, own_loss, pml_loss = ({tuple(n.split(".")) for n in step} for step in json.loads(answer.stdout))
    assert not {name[0] for name in ours} & HEAVY
    # Of the package the losses, and the front door with its error, and nothing of the other rooms.
    assert {name[1] for name in ours if name[0] == "understudy" and name[1:]} <= {
        "losses",
        "_version",
        "errors",
    }
    # What else comes in is the standard library and torch itself: no package of somebody else's.
    assert {name[0] for name in ours} <= {"understudy", "torch"} | set(sys.stdlib_module_names)
    assert not {name[0] for name in own_loss} & HEAVY
    assert "pytorch_metric_learning" in {name[0] for name in pml_loss}


@pytest.mark.parametrize("name", understudy.losses.__all__)
def test_public_names_exist_and_are_documented(name: str) -> None:
    public = getattr(understudy.losses, name)
    if callable(public):
        assert public.__doc__
        assert "Example:" in public.__doc__ or name == "LossEntry"
