from __future__ import annotations

from pathlib import Path

import torch

import cuvee
from cuvee.proxies.provenance import checkout_commit, provenance


def test_says_what_it_ran_on() -> None:
    found = provenance(3)
    assert found["cuvee"] == cuvee.__version__
    assert found["torch"] == torch.__version__
    assert found["members"] == "3"
    assert found["threads"] == "1"
    assert all(found.values())


def test_the_commit_is_read_from_the_checkouts_files(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert checkout_commit(tmp_path) == ""
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")
    assert checkout_commit(tmp_path) == ""
    (git / "packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n", encoding="utf-8")
    assert checkout_commit(tmp_path) == commit
    (git / "refs/heads/main").write_text(commit[::-1] + "\n", encoding="utf-8")
    assert checkout_commit(tmp_path) == commit[::-1]
    (git / "HEAD").write_text(commit + "\n", encoding="utf-8")
    assert checkout_commit(tmp_path) == commit


def test_the_commit_of_a_linked_worktree(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    own = tmp_path / "main/.git/worktrees/other"
    (tmp_path / "main/.git/refs/heads").mkdir(parents=True)
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/other\n", encoding="utf-8")
    (own / "commondir").write_text("../..\n", encoding="utf-8")
    (tmp_path / "main/.git/refs/heads/other").write_text(commit, encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/.git").write_text(f"gitdir: {own}\n", encoding="utf-8")
    assert checkout_commit(tmp_path / "other") == commit
