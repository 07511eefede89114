"""Tutorials are programs; they run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, path, tmp_path / "work"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "work" / "report.html").stat().st_size > 1_000_000
    assert "a batch:" in done.stdout
