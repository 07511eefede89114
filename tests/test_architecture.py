"""The rooms and which may import which. The table lists only rooms that exist, and it may have no cycle."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cuvee

ROOT = Path(cuvee.__file__).parent
ALLOWED: dict[str, str] = {
    "base": "",
    "mixture": "base",
    "shards": "base",
    "plan": "base mixture",
    "corpus": "base shards",
    "stream": "base mixture shards",
    "predict": "base mixture plan",
    "methods": "base mixture plan predict",
    "proxies": "base mixture plan shards stream",
    "study": "base mixture plan shards proxies methods predict",
    "interop": "base mixture plan shards corpus stream proxies",
    "tables": "base mixture plan predict methods interop",
    "audit": "base shards corpus",
    "report": "base mixture plan study audit",
    "testing": "base mixture plan shards corpus stream predict methods proxies study interop",
    "bench": "base mixture plan shards corpus stream predict methods proxies study interop tables audit report testing",
    "cli": "base mixture plan shards corpus stream predict methods proxies study interop tables audit report testing bench",
}
BARE = ("stream", "shards", "mixture", "plan", "proxies")  # must run on a machine with only numpy and torch


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def test_the_table_lists_exactly_the_rooms_that_exist() -> None:
    assert set(ALLOWED) == {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"}


def test_no_cycle() -> None:
    TopologicalSorter({room: allowed.split() for room, allowed in ALLOWED.items()}).prepare()


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = []
    for room, allowed in ALLOWED.items():
        for path in files(room):
            for name in imported(path):
                parts = name.split(".")
                if parts[0] == "cuvee" and len(parts) > 1 and parts[1] not in {room, *allowed.split()}:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_bare_rooms_import_only_numpy_and_torch() -> None:
    known = {"numpy", "torch", "cuvee", *sys.stdlib_module_names}
    wrong = [
        f"{p.relative_to(ROOT)}: {n}"
        for room in BARE
        for p in files(room)
        for n in imported(p)
        if n.split(".")[0] not in known
    ]
    assert not wrong, "\n".join(wrong)


def test_import_is_light() -> None:
    code = "import sys, cuvee; print(sorted({'torch', 'scipy', 'pyarrow', 'numpy'} & set(sys.modules)))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


@pytest.mark.slow
def test_help_loads_neither_torch_nor_scipy_nor_pyarrow() -> None:
    code = (
        "import sys; from cuvee.cli.app import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'pyarrow', 'plotly'} & set(sys.modules)), file=sys.stderr)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.strip() == "[]"
    )


def test_public_names() -> None:
    assert set(cuvee.__all__) == set(cuvee._WHERE)
    assert all(getattr(cuvee, name).__name__ == name for name in cuvee.__all__)


def test_files_stay_readable() -> None:
    long = {
        p.relative_to(ROOT): n
        for p in ROOT.rglob("*.py")
        if (n := len(p.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long, f"split where the idea splits: {long}"
