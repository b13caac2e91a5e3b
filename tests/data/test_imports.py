"""The data room opens without the libraries that only some data needs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    program = "import json, sys, understudy.data; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "understudy.data.dataset" in loaded
    heavy = {"timm", "pyarrow", "sklearn", "matplotlib", "torchvision", "pandas", "pytorch_metric_learning"}
    assert not heavy & loaded
