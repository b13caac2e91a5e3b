"""What the documentation says is so: its examples run, its links lead somewhere, its tables are current."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_s_own_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    runnable = [block for block in blocks if "photos/" not in block]
    assert runnable
    for block in runnable:
        exec(compile(block, "README.md", "exec"), {})


def test_the_readme_s_table_is_the_demo_s() -> None:
    table = [
        line
        for line in (ROOT / "benchmarks" / "results" / "demo.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    assert "\n".join(table) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_page_of_losses_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "write_losses.py"), "--check"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
