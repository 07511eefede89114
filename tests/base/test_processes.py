from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import cuvee
from cuvee.base.processes import TAIL, environment, how, tail


def test_a_worker_has_one_thread_this_package_and_not_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cuvee.py").write_text("raise AssertionError")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "more")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = "import os, cuvee; print(cuvee.__file__, os.environ['OMP_NUM_THREADS'])"
    said = subprocess.check_output([sys.executable, "-c", code], env=environment(), text=True)
    assert said.split() == [str(Path(cuvee.__file__).resolve()), "1"]
    assert environment()["PYTHONPATH"].split(os.pathsep)[1:] == ["more"]
    monkeypatch.delenv("PYTHONPATH")
    assert os.pathsep not in environment()["PYTHONPATH"]


def test_the_tail_is_the_last_of_a_file() -> None:
    with tempfile.TemporaryFile() as file:
        assert tail(file) == ""
        file.write("é".encode() * TAIL + b"x last words\n")
        assert tail(file).endswith("é" + "x last words")
        assert len(tail(file).encode()) <= TAIL + 3  # the cut may leave half a character


def test_how_a_process_ended() -> None:
    assert (how(-9), how(1)) == ("by signal 9", "with exit code 1")
