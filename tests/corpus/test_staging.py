from __future__ import annotations

from pathlib import Path

import pytest

from cuvee.base.errors import UsageError
from cuvee.corpus.staging import Staging, draft, publish_folder


def stages(*signatures: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(("one", "two", "three"), signatures, strict=True))


def test_a_changed_stage_goes_with_all_after_it(tmp_path: Path) -> None:
    first = Staging(tmp_path, stages("a", "b", "c"))
    with first.held() as dropped:
        assert dropped == []
        for name in ("one", "two", "three"):
            (first.folder(name) / "result").touch()
    with first.held() as dropped:
        assert dropped == []
    with Staging(tmp_path, stages("a", "B", "c")).held() as dropped:
        assert dropped == ["two", "three"]
    assert [(tmp_path / ".prepare" / name / "result").exists() for name in ("one", "two", "three")] == [
        True,
        False,
        False,
    ]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    staging = Staging(tmp_path, stages("a", "b", "c"))
    with staging.held(), pytest.raises(UsageError, match="another process"), staging.held():
        pass
    with staging.held():
        pass


def test_what_a_killed_job_left_is_removed(tmp_path: Path) -> None:
    staging = Staging(tmp_path, stages("a", "b", "c"))
    with staging.held():
        draft(staging.folder("one") / "000001")
    with staging.held():
        assert [p.name for p in staging.folder("one").iterdir()] == ["signature"]


def test_the_first_to_publish_wins(tmp_path: Path) -> None:
    first, second = draft(tmp_path / "x"), draft(tmp_path / "x")
    (first / "first").touch()
    (second / "second").touch()
    publish_folder(first, tmp_path / "x")
    publish_folder(second, tmp_path / "x")
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["first"]
