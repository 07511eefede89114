"""Versions and hardware: recorded with a trial, no part of its id; the report warns when a study mixes them."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

import cuvee
from cuvee import __version__
from cuvee.proxies.way import Way

PLAIN = Way()


def provenance(members: int, way: Way = PLAIN) -> dict[str, str]:
    """What a training of `members` models runs on here, and how."""
    commit = checkout_commit(Path(cuvee.__file__).parents[2])
    return {
        "cuvee": __version__,
        **({"commit": commit} if commit else {}),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "members": str(members),
        **({"way": str(way)} if way != PLAIN else {}),
        **({"gpu": torch.cuda.get_device_name()} if way.device == "cuda" else {}),
    }


def checkout_commit(root: Path) -> str:
    """The commit of the git checkout at `root`, read from its files; empty where there is none.

    Of an installed package `root` is no checkout. Changes that are not committed are not seen.
    """
    try:
        git = root / ".git"
        if git.is_file():  # a linked worktree
            git = root / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        name = head.partition("ref:")[2].strip()
        if not name:
            return head
        common = git / "commondir"
        shared = git / common.read_text(encoding="utf-8").strip() if common.is_file() else git
        if (shared / name).is_file():
            return (shared / name).read_text(encoding="utf-8").strip()
        packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except (OSError, UnicodeDecodeError):
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
