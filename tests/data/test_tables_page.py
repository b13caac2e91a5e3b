"""What docs/tables.md says is so, and the script behind its figures runs."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")


def test_the_page_s_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "tables.md", "exec"), {})


def test_the_page_speaks_of_every_option() -> None:
    for name in ("embed", "import_table"):
        text = (ROOT / "src" / "understudy" / "cli" / f"{name}.py").read_text(encoding="utf-8")
        signature = text[text.index("def ") : text.index("-> None")]
        options = set(re.findall(r"^    (\w+): Annotated", signature, re.MULTILINE))
        plain = {"model", "data", "source", "out", "batch_size", "device"}
        for option in options - plain:
            assert f"--{option.replace('_', '-')}" in PAGE, option


def test_the_script_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "tables"
    words = ["--rows", "1300", "--dim", "8", "--rounds", "20", "--folder", tmp_path, "--out", out]
    monkeypatch.setattr(sys, "argv", ["tables.py", *map(str, words)])
    runpy.run_path(str(ROOT / "benchmarks" / "tables.py"), run_name="__main__")
    result = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    kinds = [(row["dtype"], row["shard"]) for row in result["tables"]]
    assert kinds == [("float32", 8192), ("float32", 1024), ("float16", 1024), ("int8", 1024)]
    assert all(row["most held"] < 5 for row in result["tables"])
    assert out.with_suffix(".md").read_text(encoding="utf-8").count("\n") == 8
