from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base import files
from cuvee.base.errors import DataError, PartialError


def test_the_first_writer_wins(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    assert files.publish(path, b"one")
    assert not files.publish(path, b"two")
    assert path.read_bytes() == b"one"
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_replace_is_the_last_writer(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    files.replace(path, b"one")
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"


@pytest.mark.parametrize("operation", ["link", "fsync"])
def test_a_full_disk_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, operation, full)
    with pytest.raises(PartialError, match="disk is full"):
        files.publish(tmp_path / "a.json", b"x")
    assert list(tmp_path.iterdir()) == []


def test_json_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"format": 2}', encoding="utf-8")
    with pytest.raises(DataError, match="upgrade cuvee"):
        files.load_json(path)
    path.write_text('{"format":', encoding="utf-8")
    with pytest.raises(DataError, match="not valid JSON"):
        files.load_json(path)


@pytest.mark.slow
@given(st.lists(st.text(min_size=1), min_size=2, unique=True))
def test_slugs_are_safe_and_distinct(names: list[str]) -> None:
    slugs = [files.slug(n) for n in names]
    assert all(set(s) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") for s in slugs)
    assert len(set(slugs)) == len(slugs)


def test_slugs_are_a_stored_format() -> None:
    assert [files.slug(n) for n in ("C/C++", "c/c++", "日本語")] == ["c-c-64e51ba0", "c-c-ae42643c", "domain-2f370c8e"]
