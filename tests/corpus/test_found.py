"""Gathering domains from a made-up installation, and from the one that runs the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.found import DOCUMENT_LIMIT, Installation, gather


def prose(words: int, salt: str = "") -> str:
    blank = ("\n", "", "", "", "")
    return "".join(f"line {i} of {salt} says what line {i * 7} says\n{blank[i % 5]}" for i in range(words // 9))


@pytest.fixture
def fake(tmp_path: Path) -> Installation:
    """Two modules, one long; a test; topics; headers; a package with a licence, stubs, giants, binaries."""
    library, packages, headers = tmp_path / "lib", tmp_path / "lib" / "site-packages", tmp_path / "include"
    topics = {"if": prose(900, "if"), "for": prose(900, "for")}
    files: dict[Path, bytes] = {
        library / "first.py": prose(900, "first").encode(),
        library / "long.py": prose(9000, "long").encode(),
        library / "tests" / "test_first.py": prose(900, "test").encode(),
        library / "pydoc_data" / "topics.py": f"topics = {topics!r}".encode(),
        library / "latin.py": prose(900, "latin").encode() + "é".encode("latin-1"),
        headers / "Python.h": prose(900, "header").encode(),
        packages / "a" / "giant.h": b"int x;\n" * 100 + b"y" * 3000,
        packages / "a" / "nul.h": prose(900, "nul").encode() + b"\0",
        packages / "a" / "same.h": prose(900, "header").encode(),
        packages / "a" / "module.py": f'"""{prose(900, "doc")}"""\nx = "\\d"\n'.encode(),
        packages / "a" / "broken.py": b"def (",
        packages / "a-1.dist-info" / "METADATA": b"Name: a\n\n" + prose(300, "about").encode(),
    }
    for path, data in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return Installation(library, (packages,), headers)


def texts(folder: Path) -> list[str]:
    return [p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.txt"))]


def test_fake_installation(fake: Installation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = {d.name: d for d in gather(out, least_bytes_per_domain=1000, installation=fake)}
    assert set(found) == {"python_code", "reference", "c_headers", "docstrings", "python_tests", "readmes"}
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == sorted(found)
    for name, domain in found.items():
        assert domain.documents == len(texts(out / name))
        assert domain.bytes == sum(len(t.encode()) for t in texts(out / name))
    # the duplicate, the binary, the one-line giant and the Latin-1 file are left out
    assert found["c_headers"].documents == 1
    assert found["python_code"].documents == 2
    assert found["reference"].documents == 2
    assert "Name: a" not in texts(out / "readmes")[0]
    assert "def" not in "".join(texts(out / "docstrings"))


def test_long_files_are_cut_at_a_blank_line(fake: Installation, tmp_path: Path) -> None:
    gather(tmp_path / "out", least_bytes_per_domain=1000, installation=fake)
    longest = max(texts(tmp_path / "out" / "python_code"), key=len)
    assert DOCUMENT_LIMIT // 2 < len(longest) <= DOCUMENT_LIMIT
    assert longest.rstrip() + "\n\n" in prose(9000, "long")


def test_limit_and_most(fake: Installation, tmp_path: Path) -> None:
    found = gather(
        tmp_path / "out", limit_bytes_per_domain=9000, least_bytes_per_domain=1000, most_domains=2, installation=fake
    )
    assert len(found) == 2
    assert all(1000 <= d.bytes <= 9000 for d in found)


def test_again_keeps_what_is_there(fake: Installation, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = gather(out, least_bytes_per_domain=1000, installation=fake)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert gather(out, least_bytes_per_domain=1000, installation=fake) == first
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    with pytest.raises(UsageError, match="already holds files"):
        gather(out, least_bytes_per_domain=999, installation=fake)


def test_an_empty_installation_says_so(tmp_path: Path) -> None:
    nothing = Installation(tmp_path / "lib", (), tmp_path / "include")
    with pytest.raises(DataError, match="0 kinds of text"):
        gather(tmp_path / "out", installation=nothing)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_this_installation_has_six_domains(tmp_path: Path) -> None:
    first = gather(tmp_path / "a")
    assert len(first) >= 6
    assert all(150_000 <= d.bytes <= 1_500_000 and d.documents >= 20 for d in first)
    assert gather(tmp_path / "b") == first
    names = [sorted(p.relative_to(root) for p in root.rglob("*.txt")) for root in (tmp_path / "a", tmp_path / "b")]
    assert names[0] == names[1]
